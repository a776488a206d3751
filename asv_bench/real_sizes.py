"""The cost of a verdict at the sizes of real training, and the part of it that proves something.

    python asv_bench/real_sizes.py --base 9a9b81a

Runs `bpttcheck verify torch` on PyTorch's LSTM with 8 examples at three sizes, of this commit and of an older one,
interleaved. The libraries choose the number of threads, as for a user. Needs PyTorch in the environment, and git.
"""

import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
SIZES = ("T=70,B=8,D=32,H=64", "T=200,B=16,D=64,H=128", "T=400,B=16,D=64,H=256")


def verdict(checkout: Path, sizes: str, dtype: str) -> str:
    """The cells of a row: seconds, laws that ran, laws that proved nothing."""
    options = {"--cell": "lstm", "--dtype": dtype, "--sizes": sizes, "--examples": "8", "--seed": "0"}
    path = os.pathsep.join(str(checkout / part) for part in ("reference", "properties"))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "bpttcheck", "verify", "torch", "-q", *itertools.chain(*options.items())],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        took = time.perf_counter() - started
    said = re.search(r"ran (\d+) of .*", done.stdout)
    if done.returncode or not said:
        raise click.ClickException(f"{checkout}: {done.stdout}{done.stderr}")
    vacuous = re.search(r"(\d+) vacuous", said[0])
    return f"{took:.0f} s, {vacuous[1] if vacuous else 0} of {said[1]} proved nothing"


@click.command()
@click.option("--base", help="An older commit to compare with.")
@click.option("--dtype", "dtypes", multiple=True, default=("float32",), show_default=True)
@click.option("--sizes", "chosen", multiple=True, default=SIZES)
def main(base: str | None, dtypes: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    """Print a row for each size and dtype."""
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {"this commit": ROOT}
        if base:
            old = Path(folder) / "old"
            subprocess.run(["git", "clone", "-q", str(ROOT), str(old)], check=True)
            subprocess.run(["git", "-C", str(old), "checkout", "-q", base], check=True)
            checkouts = {base: old} | checkouts
        click.echo(f"| sizes | dtype | {' | '.join(checkouts)} |")
        click.echo(f"|---|---|{'---|' * len(checkouts)}")
        for sizes in chosen:
            for dtype in dtypes:
                cells = [verdict(checkout, sizes, dtype) for checkout in checkouts.values()]
                click.echo(f"| {sizes} | {dtype} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
