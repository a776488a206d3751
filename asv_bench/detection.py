"""Detection power: which law sees which planted fault, down to which size, and which of them other checkers see.

    python -m pip install ".[torch,plots]" jax chex autograd
    python asv_bench/detection.py --markdown docs/detection.md --png docs/detection.png

This page shows which laws see which planted faults, and down to which size of the fault. It compares this with other
gradient checkers.

A fault of size e is the reference plus e times (fault - reference), in outputs and gradients. Some faults have only
size 1: faults of a loss that the implementation computes itself, and faults without a size, such as overwritten arrays
and incorrect shapes. We test size 1 in both dtypes and the other sizes in float64, with one cell each.

The other checkers get each fault as a function from all arrays to one vector, with the fault's pullback as its
derivative. They run in float64, first order, reverse mode, and otherwise with their defaults, on the smallest case on
which a law saw the fault. The case has no truncation, because none of them supports it. An error that stops a checker
counts as seen.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.progress import track

from bpttcheck import LAWS, Capabilities, Case, Cotangents, Gradients, Outputs, Result, judge
from bpttcheck.adapters.reference import Reference
from bpttcheck.faults import CLASSES, FAULTS, Fault, Faulty
from bpttref import CELLS, trees
from bpttref.arrays import Array

try:
    from bpttcheck.cases.blocks import case_arrays, named
    from bpttcheck.cases.changes import with_arrays
    from bpttcheck.cases.drawing import Draw
    from bpttcheck.cases.realising import realise
    from bpttcheck.explaining.diagnosis import diagnose
except ModuleNotFoundError:  # at commits before the wings, at which benchmarks/peers.py imports this file
    from bpttcheck.blocks import case_arrays, named
    from bpttcheck.diagnosis import diagnose

    from bpttcheck.cases import Draw, realise, with_arrays

PLAIN = Draw(5, 3, 4, 3, 1, *[False] * 4, 0.5, 0)
SIZES = (1.0, 1e-3, 1e-6)


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
    """A planted fault of some size, as an implementation."""

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


class Function:
    """A fault on one case, as other checkers need it: from arrays to one vector, and its cotangent to gradients."""

    def __init__(self, fault: Fault, case: Case) -> None:
        self._subject: Any = Faulty(fault)
        self._case = replace(case, objective=None)
        self.names = list(case_arrays(self._case))
        self.arrays = list(case_arrays(self._case).values())

    def run(self, arrays: Sequence[Array]) -> tuple[Array, Callable[[Array], list[Array]]]:
        given = dict(zip(self.names, (np.array(a) for a in arrays), strict=True))
        outputs, pullback = self._subject.vjp(with_arrays(self._case, lambda name, _: given[name]))
        flat = np.concatenate([array.ravel() for array in named(outputs).values()])

        def pull(cotangent: Array) -> list[Array]:
            parts = iter(np.split(np.array(cotangent), np.cumsum([a.size for a in named(outputs).values()])[:-1]))
            y, final = (trees.each(lambda a: next(parts).reshape(a.shape), tree) for tree in outputs[:2])
            found = named(pullback(Cotangents(y, final)))
            return [found[name] for name in self.names]

        return flat, pull


def gradcheck(function: Function, fast: bool) -> bool:
    """Whether ``torch.autograd.gradcheck`` sees the fault."""
    import torch

    class Planted(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, *arrays: Any) -> Any:
            flat, ctx.pull = function.run([a.detach().numpy() for a in arrays])
            return torch.tensor(flat)

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> Any:
            return tuple(torch.tensor(a) for a in ctx.pull(cotangent.numpy()))

    arrays = [torch.tensor(a, requires_grad=True) for a in function.arrays]
    return not torch.autograd.gradcheck(Planted.apply, arrays, fast_mode=fast, raise_exception=False)


def planted_in_jax(function: Function) -> tuple[Callable[..., Any], list[Any]]:
    """The fault as a JAX function with a custom pullback, and its arguments; in float64."""
    import jax

    jax.config.update("jax_enable_x64", True)
    pulls: list[Callable[[Array], list[Array]]] = []
    shape = jax.ShapeDtypeStruct(function.run(function.arrays)[0].shape, np.float64)
    like = [jax.ShapeDtypeStruct(a.shape, np.float64) for a in function.arrays]

    def run(*arrays: Array) -> tuple[Array, Array]:
        flat, pull = function.run(arrays)
        pulls.append(pull)
        return flat, np.array(len(pulls) - 1)

    @jax.custom_vjp
    def planted(*arrays: Any) -> Any:
        return jax.pure_callback(lambda *a: run(*a)[0], shape, *arrays)

    def forward(*arrays: Any) -> Any:
        return jax.pure_callback(run, (shape, jax.ShapeDtypeStruct((), np.int64)), *arrays)

    def backward(k: Any, cotangent: Any) -> Any:
        return tuple(jax.pure_callback(lambda k, c: pulls[int(k)](c), like, k, cotangent))

    planted.defvjp(forward, backward)
    return planted, [jax.numpy.asarray(a) for a in function.arrays]


def jax_check_grads(function: Function) -> bool:
    """Whether ``jax.test_util.check_grads`` sees the fault, in reverse mode and double precision."""
    from jax.test_util import check_grads

    planted, arrays = planted_in_jax(function)
    return raises(lambda: check_grads(planted, arrays, order=1, modes=["rev"]))


def chex_numerical_grads(function: Function) -> bool:
    """Whether ``chex.assert_numerical_grads`` sees the fault, in reverse mode and double precision."""
    import chex

    planted, arrays = planted_in_jax(function)
    return raises(lambda: chex.assert_numerical_grads(planted, arrays, order=1, modes=["rev"]))


def autograd_check_grads(function: Function) -> bool:
    """Whether ``autograd.test_util.check_grads`` sees the fault, with respect to all arguments."""
    from autograd.extend import defvjp_argnums, primitive
    from autograd.test_util import check_grads

    planted = primitive(lambda *arrays: function.run(arrays)[0])

    def pullback(argnums: Any, answer: Any, arrays: Any, options: Any) -> Any:
        _, pull = function.run(arrays)
        return lambda cotangent: [pull(cotangent)[k] for k in argnums]

    defvjp_argnums(planted, pullback)
    return raises(lambda: check_grads(lambda arrays: planted(*arrays), modes=["rev"], order=1)(tuple(function.arrays)))


def raises(check: Callable[[], Any]) -> bool:
    try:
        check()
    except AssertionError:
        return True
    return False


PEERS: dict[str, tuple[str, Callable[[Function], bool]]] = {
    "torch gradcheck": ("torch", lambda function: gradcheck(function, fast=False)),
    "torch gradcheck, fast": ("torch", lambda function: gradcheck(function, fast=True)),
    "jax check_grads": ("jax", jax_check_grads),
    "chex numerical_grads": ("chex", chex_numerical_grads),
    "autograd check_grads": ("autograd", autograd_check_grads),
}


@dataclass
class Seen:
    """What is seen of one fault: the smallest size by law, and by checker whether it is seen and in what time."""

    fault: str
    smallest: dict[str, float] = field(default_factory=dict)
    seconds: float = np.nan  # until the first law fails at size 1
    peers: dict[str, tuple[bool, float]] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # by the diagnosis; several if they give the same numbers
    wrong_names: tuple[str, ...] = ()  # by the diagnosis that knows none of these
    partly: tuple[str, ...] = ()  # the same, of only the simplest problem, where it reports further errors


def look_at(fault: Fault, examples: int, diagnosed: bool) -> Seen:
    """All laws at all sizes, all checkers that are installed and, if requested, the diagnosis."""
    seen, smallest_case, dtype = Seen(fault.id), None, "float64"
    cell = fault.cells[0]
    for size in SIZES if fault.door == "vjp" else SIZES[:1]:
        subject: Any = Faulty(fault) if size == 1 else Scaled(fault, size)
        started = time.perf_counter()

        def watch(result: Result, size: float = size, started: float = started) -> None:
            if size == 1 and result.status == "failed" and np.isnan(seen.seconds):
                seen.seconds = time.perf_counter() - started

        dtypes = ["float64"] if size < 1 else []
        options = {"cells": [cell.name], "dtypes": dtypes, "examples": examples, "seed": 1, "shrink": False}
        try:
            results = judge(subject, LAWS, **options, progress=watch)
            failed = [result for result in results if result.status == "failed"]
        except Exception:
            break  # not a matter of size: shapes or names differ
        if size == 1:
            dtype = max((r.dtype for r in failed), default="float64")
            draws = [r.case for r in failed if r.case is not None and r.case.T > 1 and not r.case.tokens]
            smallest_case = min(draws, key=lambda d: d.T * d.B * d.D * d.H, default=PLAIN)
        seen.smallest |= {result.law: size for result in failed}
    if fault.door == "vjp" and smallest_case is not None:
        case, _ = realise(smallest_case, cell, "float64", Faulty(fault).capabilities())
        seen.peers = asked_of_peers(fault, case)
    if diagnosed and fault.door != "jvp":
        add_diagnosis(seen, fault, dtype)
    return seen


def add_diagnosis(seen: Seen, fault: Fault, dtype: str) -> None:
    """The faults that the diagnosis names, with this fault in its list and without it."""
    found = diagnose(Faulty(fault), fault.cells[0], dtype)
    seen.names = found.names if found and not found.more else ()
    others = [other for other in FAULTS if other.id not in {fault.id, *seen.names}]
    without = diagnose(Faulty(fault), fault.cells[0], dtype, others)
    if without:
        seen.wrong_names, seen.partly = ((), without.names) if without.more else (without.names, ())


def asked_of_peers(fault: Fault, case: Case) -> dict[str, tuple[bool, float]]:
    """By checker, of those that are installed: whether it sees the fault on a case, and the time."""
    answers = {}
    for name, (library, check) in PEERS.items():
        if find_spec(library):
            started = time.perf_counter()
            try:
                found = check(Function(fault, case))
            except Exception:
                found = True
            answers[name] = found, time.perf_counter() - started
    return answers


def false_alarms_of_peers() -> list[str]:
    """The checkers that report a failure of the reference itself, on one case per cell."""
    accusers = set()
    for cell in CELLS:
        right = Fault("none", "the reference", "", (), (cell,), lambda *correct: Reference().vjp)
        case, _ = realise(PLAIN, cell, "float64", Reference().capabilities())
        accusers |= {name for name, (seen, _) in asked_of_peers(right, case).items() if seen}
    return sorted(accusers)


def table(found: Sequence[Seen]) -> list[str]:
    """Markdown: a line per fault, and the sums."""
    peers = [name for name, (library, _) in PEERS.items() if find_spec(library)]
    lines = [
        f"| fault | laws | smallest size | {' | '.join(peers)} |",
        f"|---|---|---|{'---|' * len(peers)}",
    ]
    for seen in found:
        said = [("seen" if seen.peers[p][0] else "-") if p in seen.peers else "" for p in peers]
        smallest = min(seen.smallest.values(), default=np.nan)
        lines.append(f"| `{seen.fault}` | {len(seen.smallest)} | {smallest:g} | {' | '.join(said)} |")
    asked, seconds = [seen for seen in found if seen.peers], [seen.seconds for seen in found]
    tiny = sum(min(seen.smallest.values(), default=1) <= SIZES[-1] for seen in found)
    lines += [
        "",
        f"The laws see {sum(bool(s.smallest) for s in found)} of {len(found)} faults, {tiny} of them at a millionth of "
        "their size.",
        f"The first counterexample takes {np.nanmedian(seconds):.2f} s (median), {np.nanmax(seconds):.1f} s at most.",
        "",
    ]
    if any(seen.names for seen in found):
        unnamed = [f"`{s.fault}`" for s in found if s.fault not in s.names]
        lines += [
            f"The diagnosis names {len(found) - len(unnamed)} of them (not {', '.join(unnamed) or 'any other'}). "
            f"If the correct fault is removed from its list, it names {sum(bool(s.wrong_names) for s in found)} of "
            f"them incorrectly. For {sum(bool(s.partly) for s in found)} of them it then says that one or two other "
            "faults explain only the simplest problem, and that there are further mistakes.",
            "",
        ]
    accusers = false_alarms_of_peers()
    lines += [
        "None of the other checkers reports a failure of the reference itself"
        f"{' except ' * bool(accusers)}{', '.join(accusers)}.",
        "",
    ]
    for peer in peers if asked else ():
        seen_by, taken = zip(*(s.peers[peer] for s in asked), strict=True)
        lines.append(f"- {peer} sees {sum(seen_by)} of {len(asked)} (median {np.median(taken):.2f} s)")
    return lines


@click.command()
@click.option("--examples", type=click.IntRange(1), default=40, show_default=True)
@click.option("--jobs", "-j", type=click.IntRange(1), default=1, show_default=True)
@click.option("--fault", "names", multiple=True, help="Only this fault; may be repeated.")
@click.option("--diagnose", "diagnosed", is_flag=True, help="Also, whether the diagnosis names the faults.")
@click.option(
    "--log",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep what is found of each fault here, and go on where it ends.",
)
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Write the table here.")
@click.option("--png", type=click.Path(dir_okay=False, path_type=Path), help="Draw laws by classes of faults here.")
@click.option("--panel", type=click.Choice([*CLASSES]), metavar="CLASS", help="Draw the faults of this class alone.")
def main(
    examples: int,
    jobs: int,
    names: tuple[str, ...],
    diagnosed: bool,
    log: Path | None,
    markdown: Path | None,
    png: Path | None,
    panel: str | None,
) -> None:
    """Measure, and write a table and a picture."""
    faults = [fault.id for fault in FAULTS if not names or fault.id in names]
    by_id = {seen.fault: seen for seen in logged(log)}
    with ProcessPoolExecutor(jobs) as pool:
        futures = [pool.submit(_look_at, fault, examples, diagnosed) for fault in faults if fault not in by_id]
        for future in track(as_completed(futures), "faults", total=len(futures)):
            seen = future.result()
            by_id[seen.fault] = seen
            if log:
                with log.open("a") as file:
                    file.write(json.dumps(asdict(seen)) + "\n")
    found = [by_id[fault] for fault in faults]
    lines = table(found)
    click.echo("\n".join(lines[len(found) + 2 :]))
    if markdown:
        asked = " --diagnose" * diagnosed
        command = f"python asv_bench/detection.py --examples {examples}{asked} --markdown {markdown}"
        head = ["# Detection power", "", (__doc__ or "").split("\n\n", 2)[2].strip(), "", f"Made by `{command}`.", ""]
        picture = [f"![laws by faults]({png.name})", ""] if png else []
        markdown.write_text("\n".join([*head, *lines[len(found) + 3 :], "", *picture, *lines[: len(found) + 2]]) + "\n")
    if png:
        from detection_picture import draw  # not needed by benchmarks/peers.py, which imports this file at old commits

        draw({seen.fault: seen.smallest for seen in found}, png, panel)


def logged(log: Path | None) -> list[Seen]:
    """The results on file of earlier runs with the same options."""
    if log is None or not log.exists():
        return []
    return [Seen(**json.loads(line)) for line in log.read_text().splitlines()]


def _look_at(fault_id: str, examples: int, diagnosed: bool) -> Seen:
    """`look_at` for another process: a fault travels by its name."""
    return look_at(next(fault for fault in FAULTS if fault.id == fault_id), examples, diagnosed)


if __name__ == "__main__":
    main()
