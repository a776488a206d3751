"""Messages about each planted fault, and about two at once: do they name the mistake, locate it, or mislead?

    python asv_bench/messages.py --jobs 2

Each is tested as by ``bpttcheck verify fault:ID``, on its first cell. A message *names* if the diagnosis gives the
fault, or one of two and reports further errors; it *locates* if it gives no name, but the incorrect arrays, or the law
and the case; it *misleads* if it gives only another fault's name.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import re
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.progress import track

from bpttcheck import LAWS, judge
from bpttcheck.explaining.explanation import explain
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.faults.planting import both
from bpttcheck.running.child import Here
from bpttcheck.running.question import Question
from bpttcheck.running.time_limit import TimeLimit

BY_ID = {fault.id: fault for fault in FAULTS}
TOGETHER = (  # in the cell's equations, and in the pullback around them
    ("di-uses-i", "divide-by-wrong-axis"), ("di-uses-i", "second-bias-zero"), ("sigmoid-prime-missing", "times-steps"),
    ("gates-swapped", "negated"), ("tanh-c-prime-missing", "dx-in-backward-order"), ("dW-overwrite", "times-rows"),
    ("dWh-uses-h_t", "second-bias-zero"), ("dc-carry-zeroed-op", "divided-by-steps"), ("dW-without-h0", "negated"),
    ("candidate-prime-of-sigmoid", "bias-zero-skips-gradient"), ("forget-gate-skipped", "times-steps"),
    ("rnn-no-carry", "second-bias-zero"), ("tanh-prime-without-square", "dx-in-backward-order"),
    ("activation-prime-missing", "divided-by-steps"), ("tanh-prime-of-state-before", "times-steps"),
    ("z-vs-1-minus-z", "gru-bias-copied"), ("reset-gate-skipped", "times-rows"), ("direct-path-skipped", "negated"),
    ("reset-outside-product", "second-bias-zero"), ("wrong-delta-output-gate", "divide-by-wrong-axis"),
    ("two-bias-double-step", "dx-in-backward-order"), ("gate-primes-of-values", "second-bias-zero"),
    ("previous-wraps-round", "times-rows"), ("sigmoid-prime-of-value", "divided-by-steps-and-rows"),
)  # fmt: skip


def told(names: tuple[str, ...]) -> tuple[str, str, str]:
    """Whether the message names, locates or misleads, the headline and the cause."""
    chosen = [BY_ID[name] for name in names]
    fault = chosen[0] if len(chosen) == 1 else both(*chosen)
    subject = Faulty(fault)
    target = f"fault:{names[0]}" if len(names) == 1 else "none"  # of two there is no target to load again
    results = list(judge(subject, LAWS, cells=[fault.cells[0].name], examples=40, seed=1))
    with TemporaryDirectory() as folder:
        explained = list(explain(Here(subject), target, results, Path(folder), Question(seed=1), TimeLimit()))
    if not explained:
        return "says nothing", "", ""
    (said,) = explained
    cause = "; ".join([said.diagnosis, said.together, said.needs])
    return judged(names, said.diagnosis), f"{said.first.law}: {said.first.reason}", cause


def judged(names: tuple[str, ...], diagnosis: str) -> str:
    planted = re.search(r"come from (?:the planted fault|two planted faults together,) (.*)", diagnosis)
    named = {name for name in BY_ID if planted and f"{name} (" in planted[1]}
    if not named:
        return "locates"
    told = "run again" in diagnosis if len(names) == 2 else "run again" not in diagnosis
    return "names" if told and set(names) & named else "misleads"


@click.command()
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True)
@click.option("--fault", "only", multiple=True, help="Only this fault; may be repeated.")
@click.option("--sentences", is_flag=True, help="Also what the messages say.")
def main(jobs: int, only: tuple[str, ...], sentences: bool) -> None:
    """Print a table, and how many messages name, locate and mislead."""
    chosen = [(fault.id,) for fault in FAULTS if fault.door != "jvp"] + list(TOGETHER)
    chosen = [names for names in chosen if not only or set(names) & set(only)]
    with ProcessPoolExecutor(jobs) as pool:
        found = list(track(pool.map(told, chosen), "faults", total=len(chosen)))
    click.echo("| planted | message |\n|---|---|")
    for names, (what, headline, cause) in zip(chosen, found, strict=True):
        click.echo(f"| {' + '.join(f'`{name}`' for name in names)} | {what} |")
        if sentences:
            click.echo(f"    {headline}\n    {cause}")
    click.echo(f"\n{dict(Counter(what for what, _, _ in found))}")


if __name__ == "__main__":
    main()
