"""Detection power: which law sees which planted fault, down to which size, and what PyTorch's gradcheck sees of it.

    python -m pip install ".[torch,plots]" && python asv_bench/detection.py --markdown detection.md --png detection.png

A fault of size e is the reference plus e times (fault - reference), in outputs and gradients, in float64. Faults of
subjects that own their loss, and those that are not a matter of size (overwritten arrays, wrong shapes), have size 1
alone. gradcheck gets the fault as an autograd function at its defaults, on one case with T=5, B=3, D=4, H=3.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import track

from bpttcheck import LAWS, Capabilities, Case, Cotangents, Gradients, Outputs, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.cases import Draw, realise
from bpttcheck.faults import FAULTS, Fault, Faulty

SIZES = (1.0, 1e-2, 1e-4, 1e-6)


def mixed(right: Any, wrong: Any, size: float) -> Any:
    """``right + size * (wrong - right)``, array by array."""
    if right is None or wrong is None:
        return wrong
    if isinstance(right, dict):
        return {name: mixed(right[name], wrong[name], size) for name in right}
    if isinstance(right, tuple):
        parts = [mixed(a, b, size) for a, b in zip(right, wrong, strict=True)]
        return type(right)(*parts) if hasattr(right, "_fields") else tuple(parts)
    return right + size * (wrong - right)


class Scaled:
    """A planted fault of some size, as a subject."""

    def __init__(self, fault: Fault, size: float) -> None:
        self.name = f"{fault.id} at {size:g}"
        self._faulty: Any = Faulty(fault)
        self._size = size

    def capabilities(self) -> Capabilities:
        declared: Capabilities = self._faulty.capabilities()
        return declared

    def vjp(self, case: Case) -> tuple[Outputs, Callable[[Cotangents], Gradients]]:
        (right, pull_right), (wrong, pull_wrong) = Reference().vjp(case), self._faulty.vjp(case)

        def pullback(cotangents: Cotangents) -> Gradients:
            found: Gradients = mixed(pull_right(cotangents), pull_wrong(cotangents), self._size)
            return found

        return mixed(right, wrong, self._size), pullback


def seen_by_laws(fault: Fault, size: float, examples: int) -> set[str]:
    """The laws that a fault of this size breaks."""
    subject: Any = Faulty(fault) if size == 1 else Scaled(fault, size)
    cell = fault.cells[0].name
    results = judge(subject, LAWS, cells=[cell], dtypes=["float64"], examples=examples, seed=1)
    return {result.law for result in results if result.status == "failed"}


def seen_by_gradcheck(fault: Fault, fast: bool) -> tuple[bool, float] | None:
    """Whether torch.autograd.gradcheck at its defaults sees a fault, and its seconds; None without torch or vjp."""
    try:
        import torch
    except ImportError:
        return None
    if fault.door != "vjp":
        return None
    subject: Any = Faulty(fault)
    draw = Draw(5, 3, 4, 3, 1, False, False, False, False, 0.5, seed=0)
    case, _ = realise(draw, fault.cells[0], "float64", subject.capabilities())
    parameters, initial = case.parameters[0][0], case.initial[0][0]  # type: ignore[index]
    names, states = list(parameters), list(initial)

    def run(arrays: Sequence[Any]) -> Any:
        given = [a.detach().numpy().copy() for a in arrays]
        p, s = dict(zip(names, given[1:], strict=False)), dict(zip(states, given[1 + len(names) :], strict=True))
        return subject.vjp(Case(case.cell, "float64", ((p,),), given[0], ((s,),)))

    class Planted(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *arrays: Any) -> Any:
            outputs, ctx.pullback = run(arrays)
            return tuple(torch.tensor(a.copy()) for a in (outputs.y, *outputs.final[0][0].values()))

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            y, *final = (c.numpy().copy() for c in cotangents)
            g = ctx.pullback(Cotangents(y, ((dict(zip(states, final, strict=True)),),)))
            return tuple(torch.tensor(a) for a in (g.x, *g.parameters[0][0].values(), *g.initial[0][0].values()))

    arrays = [torch.tensor(a, requires_grad=True) for a in (case.x, *parameters.values(), *initial.values())]
    start = time.perf_counter()
    try:
        seen = not torch.autograd.gradcheck(Planted.apply, arrays, fast_mode=fast, raise_exception=False)
    except Exception:
        seen = True  # it stopped with an error: something was seen
    return seen, time.perf_counter() - start


@click.command()
@click.option("--examples", type=click.IntRange(1), default=30, show_default=True)
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the table here.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw the matrix here.")
def main(examples: int, markdown: Path | None, png: Path | None) -> None:
    """Measure, and write a table and a picture."""
    smallest = np.full((len(LAWS), len(FAULTS)), np.nan)
    lines = ["| fault | laws that see it | smallest size seen | gradcheck | fast gradcheck |", "|---|---|---|---|---|"]
    slow, fast = 0, 0
    for column, fault in enumerate(track(FAULTS, "faults")):
        at_size = {1.0: seen_by_laws(fault, 1.0, examples)}
        for size in SIZES[1:] if fault.door == "vjp" else ():
            try:
                at_size[size] = seen_by_laws(fault, size, examples)
            except Exception:
                break  # not a matter of size: shapes or names differ
        for row, law in enumerate(LAWS):
            sizes = [size for size, seen in at_size.items() if law.id in seen]
            smallest[row, column] = min(sizes, default=np.nan)
        least = min((size for size, seen in at_size.items() if seen), default=None)
        checks = [seen_by_gradcheck(fault, mode) for mode in (False, True)]
        slow, fast = slow + bool(checks[0] and checks[0][0]), fast + bool(checks[1] and checks[1][0])
        said = ["-" if c is None else f"{'seen' if c[0] else 'missed'}, {c[1]:.2f} s" for c in checks]
        lines.append(f"| {fault.id} | {len(at_size[1.0])} | {least or 'none'} | {said[0]} | {said[1]} |")
    caught = int(np.isfinite(smallest).any(axis=0).sum())
    tiny = int((np.nanmin(np.where(np.isnan(smallest), 9, smallest), axis=0) <= 1e-6).sum())
    lines.append(f"\n{caught} of {len(FAULTS)} faults seen by the laws, {tiny} of them at a millionth of their size;")
    lines.append(f"gradcheck sees {slow}, its fast mode {fast}.")
    click.echo("\n".join(lines[-2:]))
    if markdown:
        markdown.write_text("\n".join(lines) + "\n")
    if png:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(18, 11), layout="constrained")
        axes = figure.subplots()
        picture = axes.imshow(np.log10(smallest), cmap="viridis_r", vmin=-6, vmax=0, aspect="auto")
        axes.set_xticks(range(len(FAULTS)), [f.id for f in FAULTS], rotation=90, fontsize=6)
        axes.set_yticks(range(len(LAWS)), [law.id for law in LAWS], fontsize=7)
        figure.colorbar(picture, label="log10 of the smallest size of fault that is seen")
        figure.savefig(png, dpi=150)


if __name__ == "__main__":
    main()
