"""Cases for users' own tests with Hypothesis, of laws that only they know."""

from collections.abc import Mapping

from hypothesis import strategies as st

from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.smaller import any_draws
from bpttcheck.contract import Implementation
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.evaluating import trial_of
from bpttcheck.targets import TargetError, cell_named
from bpttref.arrays import Array


def cases(
    implementation: Implementation, *, cell: str = "", dtype: str = "", against: Implementation | None = None
) -> st.SearchStrategy[Trial]:
    """A Hypothesis strategy of small problems for an implementation, for your own ``@given`` tests.

    Failures shrink to few steps, rows and units, and to multiples of 1/4. Problems whose outputs change visibly only by
    rounding are left out.

    Parameters
    ----------
    implementation : Implementation
        The problems are such that it supports them.
    cell, dtype : str
        By name; the first that it has, if left out.
    against : Implementation, optional
        The implementation whose numbers are the correct ones.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Each value has ``case`` and ``cotangents``, the ``outputs`` and ``gradients`` of the implementation by name, and
        ``results(case, cotangents)``, its outputs and gradients for another case.

    Raises
    ------
    ValueError
        If there is no such cell or dtype.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from bpttcheck.adapters.reference import Reference
    >>> @settings(max_examples=5, derandomize=True)
    ... @given(cases(Reference(), cell="lstm", dtype="float64"))
    ... def test_twice(trial):
    ...     again = trial.results(trial.case, trial.cotangents)
    ...     assert margin(trial, again, {**trial.outputs, **trial.gradients}) <= 1
    >>> test_twice()
    """
    capabilities = capabilities_of(implementation)
    try:
        known = cell_named(implementation, cell or capabilities.cells[0].name)
    except TargetError as error:
        raise ValueError(str(error)) from error
    if dtype and dtype not in capabilities.dtypes:
        raise ValueError(f"{implementation.name} declares no {dtype}; there are {', '.join(capabilities.dtypes)}")
    asked = Asked(implementation, capabilities, known, dtype or capabilities.dtypes[0], capabilities, against)

    def realised(draw: Draw) -> Trial | None:
        trial = trial_of(asked, draw)
        return trial if trial is not None and trial.determined else None

    found: st.SearchStrategy[Trial] = any_draws(capabilities).map(realised).filter(lambda trial: trial is not None)  # type: ignore[assignment]
    return found


def margin(trial: Trial, got: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """The largest error over tolerance of arrays that should be equal. A law holds if it is at most 1.

    Both sides may err by as much as the implementation itself at this problem. ``hypothesis.target(margin)`` looks for
    problems that come near to breaking a law.

    Parameters
    ----------
    trial : Trial
        A value of `cases`.
    got, expected : mapping of str to Array
        Arrays by their names in ``outputs`` and ``gradients``.

    Returns
    -------
    float
        0 if all are equal.

    Raises
    ------
    ValueError
        If no name is on both sides.

    Examples
    --------
    See `cases`.
    """
    if not got.keys() & expected.keys():
        raise ValueError(
            f"there is nothing to compare: {', '.join(got)} on one side, {', '.join(expected)} on the other"
        )
    comparisons = trial.compare(dict(got), dict(expected), trial.measured, trial.measured)
    return max((comparison.margin for comparison in comparisons), default=0.0)
