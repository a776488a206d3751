"""PyTorch's recurrent layers on a GPU, in each format, at small and at real sizes.

    python asv_bench/on_gpu.py --seconds 240 > on-gpu.md

Runs the laws on nn.RNN, nn.LSTM and nn.GRU (cuDNN's kernels on an NVIDIA device), in float32, in float32 with TF32, in
float16 and in bfloat16, and on the layers of Flax where JAX has the device. Each row has an equal share of the time.
Without a GPU the same rows run on the CPU, where TF32 is float32. Prints a Markdown table, and ends with status 1 if a
law failed.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping

import click

from bpttcheck import LAWS, Implementation, judge
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.running.own import Own
from bpttcheck.running.results import BAD, Result

SIZES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    "small": {},
    "T=200, B=16, D=64, H=128": {"T": (200,), "B": (16,), "D": (64,), "H": (128,)},
}
CELLS = ("rnn-tanh", "lstm", "gru-after")
HEADINGS = ("library", "cell", "format", "sizes", "cases", "laws passed", "failed", "largest error / tolerance")


def libraries(device: str) -> Iterator[tuple[str, Callable[[], Implementation]]]:
    """A format, and a factory of the layers that are run in it: a choice of TF32 holds for the whole process."""
    from bpttcheck.adapters.torch import TorchLayers

    yield "float32", lambda: TorchLayers(device, dtypes=("float32",))
    yield "float32 with TF32", lambda: TorchLayers(device, dtypes=("float32",), tf32=True)
    yield "float16", lambda: TorchLayers(device, dtypes=("float16",))
    yield "bfloat16", lambda: TorchLayers(device, dtypes=("bfloat16",))
    try:
        import jax

        from bpttcheck.adapters.flax_linen import FlaxLinen
    except ImportError:
        return
    if device == "cpu" or jax.default_backend() == "gpu":
        yield "float32", FlaxLinen


def row(format: str, subject: Implementation, cell: str, sizes: str, seconds: float) -> tuple[list[Result], list[str]]:
    """The results of a share of the time, and the cells of its row."""
    dtype = format.split()[0]
    own = Own({name: numbers for name, numbers in SIZES[sizes].items()})
    results = list(
        judge(subject, LAWS, cells=[cell], dtypes=[dtype], examples=40, seconds=seconds, seed=1, shrink=False, own=own)
    )
    passed, bad = [r for r in results if r.status == "passed"], [r for r in results if r.status in BAD]
    worst = max((r for r in passed if r.worst and not r.worst.exact), key=lambda r: r.margin, default=None)
    inside = next((f", {r.inside} inside" for r in results if r.inside and r.inside != "tf32"), "")
    cells = [subject.name, cell, format + inside, sizes, str(max(r.drawn for r in results)), str(len(passed))]
    return results, [*cells, str(len(bad)), f"{worst.margin:.2f} ({worst.law})" if worst else ""]


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=240, show_default=True, help="For all rows together.")
def main(seconds: float) -> None:
    """Print a row for each library, cell, format and size."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "the CPU"
    made = [(format, make, cell, sizes) for format, make in libraries(device) for cell in CELLS for sizes in SIZES]
    rows, started, failures = [], time.monotonic(), []
    for k, (format, make, cell, sizes) in enumerate(made):
        share = (seconds - (time.monotonic() - started)) / (len(made) - k)
        subject = make()
        declared = capabilities_of(subject)
        if any(not {*pool} <= {*declared.sizes.get(name, pool)} for name, pool in SIZES[sizes].items()):
            continue  # Flax is compiled for a few sizes
        results, cells = row(format, subject, cell, sizes, max(1.0, share))
        rows.append(cells)
        failures += [f"{r.subject}, {r.law} on {r.cell} in {format}: {r.reason}" for r in results if r.status in BAD]
    cudnn = f", cuDNN {torch.backends.cudnn.version()}" if device == "cuda" else ""
    click.echo(f"On {name}: PyTorch {torch.__version__}{cudnn}, {time.monotonic() - started:.0f} s.\n")
    for cells in (HEADINGS, ["---"] * len(HEADINGS), *rows):
        click.echo(f"| {' | '.join(cells)} |")
    for sentence in failures:
        click.echo(sentence, err=True)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
