"""A verdict on a user's own functions in one call, for a test, where it raises: `check` and `assert_op`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, wraps
from io import StringIO
from typing import Any

from rich.console import Console

from bpttcheck.adapters.own_arrays.building import name_of, own_arrays
from bpttcheck.cases.facts import facts
from bpttcheck.cases.realising import realise
from bpttcheck.contract import Case, Cotangents, Implementation
from bpttcheck.explaining.diagnosis import diagnose, whose_numbers
from bpttcheck.explaining.explanation import Explanation, with_numbers
from bpttcheck.explaining.headline import in_order, together
from bpttcheck.explaining.looking import number_by_number
from bpttcheck.laws import LAWS
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.reporting.text import print_failure, print_verdict
from bpttcheck.running.own import Own
from bpttcheck.running.results import BAD, Result, summary, unproved
from bpttcheck.running.time_limit import TimeLimit
from bpttcheck.running.verdict import judge
from bpttcheck.targets import cell_named

_COLUMNS = 100
_SECONDS = 10.0  # of a diagnosis
_GRADIENTS = {"parameters": "parameters", "x": "inputs", "initial": "initial states"}
_NONE = "There is no backward pass: nothing is said about gradients."


@dataclass(frozen=True)
class Verdict:
    """The outcome of `check`. ``print(verdict)`` prints the same as ``bpttcheck verify``, without skipped laws.

    Parameters
    ----------
    implementation : Implementation
        What the laws ran on.
    results : sequence of Result
        One for each law, as `judge` yields them.
    examples, seed : int
        Of the run.
    against : Implementation or None
        The implementation whose numbers are the correct ones.

    Examples
    --------
    >>> from bpttcheck.adapters.reference import Reference
    >>> Verdict(Reference(), [], examples=0, seed=0).broken
    []
    """

    implementation: Implementation
    results: Sequence[Result]
    examples: int
    seed: int
    against: Implementation | None = None

    @property
    def passed(self) -> bool:
        """Whether no law failed, and at least one proved something."""
        return not self.broken and not unproved(self.results)

    @property
    def broken(self) -> list[Result]:
        """The laws that failed, the one that explains most first."""
        found = [result for result in self.results if result.status in BAD]
        with_case = [result for result in found if result.case is not None]
        return in_order(with_case) + [r for r in found if r.case is None] if with_case else found

    @cached_property
    def case(self) -> Case | None:
        """The smallest case that fails, as an implementation gets it; None if there is none."""
        first = next((result for result in self.broken if result.case is not None), None)
        return None if first is None else self._problem(first)[0]

    def _problem(self, result: Result) -> tuple[Case, Cotangents]:
        assert result.case is not None
        cell = cell_named(self.implementation, result.cell)
        return realise(result.case, cell, result.dtype, capabilities_of(self.implementation))

    def __str__(self) -> str:
        def printed(console: Console) -> None:
            print_verdict(console, [result for result in self.results if result.status != "skipped"])
            self._print_failures(console)
            console.print(f"\n{summary(self.results)}", markup=False, highlight=False)
            console.print(self._understood(), markup=False, highlight=False)

        return _text(printed)

    def _understood(self) -> str:
        """How the example was understood, and which gradients were not tested because they were not returned."""
        declared = capabilities_of(self.implementation)
        lies = ", ".join(f"{name} {how}" for name, how in declared.conventions.items())
        kinds = ", ".join(name for kind, name in _GRADIENTS.items() if kind in declared.gradients)
        return (f"Arrays: {lies}. " if lies else "") + (f"Gradients tested: {kinds}." if kinds else _NONE)

    @property
    def failure(self) -> str:
        """The mistake in words, without the table of laws; empty if there is none."""
        return "" if self.passed else _text(self._print_failures)

    def _print_failures(self, console: Console) -> None:
        for cell in dict.fromkeys(result.cell for result in self.results):
            shown = [result for result in self.broken if result.cell == cell and result.case is not None]
            passed = {r.law for r in self.results if r.cell == cell and r.status == "passed"}
            if shown:
                print_failure(console, self._explained(shown, passed))
                again = f"the same cases are drawn on every run: seed {self.seed}, {self.examples} examples"
                console.print(f"    reproduce: {again}", highlight=False)
        for result in self.broken:
            if result.case is None:
                console.print(f"\n{result.status.upper()} {result.law}: {result.reason}", markup=False, highlight=False)
        for sentence in unproved(self.results):
            console.print(f"\nNothing was proved: {sentence}", markup=False, highlight=False)

    def _explained(self, broken: list[Result], passed: Collection[str]) -> Explanation:
        """The mistake in a cell, for which some laws failed and others passed."""
        first, problem = broken[0], self._problem(broken[0])
        cell, limit = problem[0].cell, TimeLimit(_SECONDS)
        found = diagnose(self.implementation, cell, first.dtype, failing=[problem], limit=limit, against=self.against)
        true = whose_numbers(self.implementation, cell, self.against)
        right = number_by_number(self.implementation, true, first.worst, *problem)
        told = [with_numbers(first, right), *broken[1:]]
        said = found.sentence() if found else ""
        return Explanation(told, said, None, (), together=together(broken, passed), facts=facts(problem[0]))


def _text(printing: Callable[[Console], None]) -> str:
    text = StringIO()
    printing(Console(file=text, color_system=None, width=_COLUMNS))
    return text.getvalue().strip("\n")


def check(
    function: Callable[..., Any] | Implementation,
    backward: Callable[..., Any] | None = None,
    *,
    against: Callable[..., Any] | Implementation | None = None,
    examples: int = 40,
    seed: int = 0,
    raises: bool = True,
    **example: Any,
) -> Verdict:
    """Run all laws on a backward pass that you wrote by hand, in your own names and shapes.

    Parameters
    ----------
    function : callable or Implementation
        Your function, as `own_arrays` takes it, or an implementation.
    backward : callable, optional
        As `own_arrays` takes it.
    against : callable or Implementation, optional
        A function of the same arguments, or an implementation, whose numbers are the correct ones.
    examples : int
        Problems for each dtype.
    seed : int
        Another seed gives other problems.
    raises : bool
        Whether a law that fails raises AssertionError.
    **example
        An example of your arrays, and all other arguments of `own_arrays`.

    Returns
    -------
    Verdict
        It prints like ``bpttcheck verify``.

    Raises
    ------
    AssertionError
        With the mistake, or if nothing was proved.
    ValueError
        With a sentence, if the example does not show enough.

    Examples
    --------
    >>> import numpy as np
    >>> def run(p, x):
    ...     y = np.cumsum(x * p["w"], axis=0)
    ...     def pullback(dy):
    ...         dx = np.cumsum(dy[::-1], axis=0)[::-1]
    ...         return {"dw": np.sum(dx * x, axis=(0, 1)), "dx": dx * p["w"]}
    ...     return y, pullback
    >>> verdict = check(run, parameters={"w": np.ones(3)}, x=np.ones((4, 2, 3)), examples=5)
    >>> verdict.passed
    True
    """
    __tracebackhide__ = True
    subject = function if isinstance(function, Implementation) else own_arrays(function, backward, **example)
    if against is None or isinstance(against, Implementation):
        own = Own(against=against)
    else:
        own = Own(against=own_arrays(against, **{**example, "name": subject.name}))
    results = list(judge(subject, LAWS, examples=examples, seed=seed, own=own))
    verdict = Verdict(subject, results, examples, seed, own.against)
    if raises and not verdict.passed:
        raise AssertionError(verdict.failure)
    return verdict


def assert_op(
    op: Callable[..., Any] | Implementation,
    *,
    streams: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    against: Callable[..., Any] | Implementation | None = None,
    through: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
    time: int = 1,
    batch: int = 0,
    chunk: int | Collection[int] = (),
    examples: int = 40,
    seed: int = 0,
    **said: Any,
) -> None:
    """Assert that an operator on whole sequences follows all laws, and gives the same numbers as another operator.

    Parameters
    ----------
    op : callable or Implementation
        ``op(**streams, **state, **parameters) -> y, final state, pullback``, called by its own keywords; only y, or no
        pullback, for a forward pass. ``pullback(dy, dstate)`` returns gradients by these keywords.
    streams, state, parameters : mapping of str to Array, optional
        An example of each argument. An implementation needs no example.
    against : callable or Implementation, optional
        A slow operator that is correct, called in the same way.
    through : callable, optional
        From an operator of another library to an operator on NumPy's arrays; used on both.
    time, batch : int
        The axes of the streams.
    chunk : int or collection of int
        Steps that the operator computes at once; its argument ``chunk`` or ``chunk_size`` gets one of them.
    examples, seed : int
        As in `check`.
    **said
        Other arguments of `own_arrays`, such as domains, dtypes, lengths, resets.

    Raises
    ------
    AssertionError
        With the mistake.
    ValueError
        With a sentence, if the example does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> def decay(v, s):
    ...     y = [s := s / 2 + v_t for v_t in np.moveaxis(v, 1, 0)]
    ...     def pullback(dy, ds):
    ...         dv = np.zeros_like(v)
    ...         for t in reversed(range(v.shape[1])):
    ...             ds = ds + dy[:, t]
    ...             dv[:, t], ds = ds, ds / 2
    ...         return {"v": dv, "s": ds}
    ...     return np.stack(y, axis=1), s, pullback
    >>> v, s = np.ones((2, 3, 4)), np.ones((2, 4))
    >>> assert_op(decay, streams={"v": v}, state={"s": s}, examples=5)
    """
    __tracebackhide__ = True
    if isinstance(op, Implementation):
        check(op, against=against, examples=examples, seed=seed)
        return
    convert = through or (lambda operator: operator)
    example = {
        "parameters": parameters,
        "x": streams,
        "states": state,
        "time": time,
        "batch": batch,
        "chunks": (chunk,) if isinstance(chunk, int) else tuple(chunk),
        "name": name_of(op),
        **said,
    }
    slow = against
    if against is not None and not isinstance(against, Implementation):
        slow = _by_keywords(convert(against))
    check(_by_keywords(convert(op)), against=slow, examples=examples, seed=seed, **example)


def _by_keywords(op: Callable[..., Any]) -> Callable[..., Any]:
    """The operator as a function of mappings, in their order."""

    @wraps(op.func if isinstance(op, partial) else op)
    def run(*given: Mapping[str, Any], **chosen: Any) -> Any:
        return op(**{name: array for mapping in given for name, array in mapping.items()}, **chosen)

    return run
