"""bpttcheck tests implementations of backpropagation through time: laws, generated cases, and a verdict.

An adapter needs `Capabilities`, `Outputs` and `Gradients` (see `bpttcheck.contract`); `judge` runs the laws on it, and
`parametrize_with_laws` makes tests of them. Nothing is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpttcheck.adapters.own_arrays.building import own_arrays
    from bpttcheck.contract import (
        Capabilities,
        Case,
        Cotangents,
        CustomCell,
        ForwardMode,
        Gradients,
        Implementation,
        OneShot,
        Outputs,
        Pullback,
        TwoPhase,
    )
    from bpttcheck.laws import LAWS, Law
    from bpttcheck.reporting.checks import parametrize_with_laws
    from bpttcheck.reporting.own_code import Verdict, assert_op, check
    from bpttcheck.running.results import Result
    from bpttcheck.running.verdict import judge

__all__ = [
    "Capabilities",
    "Case",
    "Cotangents",
    "CustomCell",
    "ForwardMode",
    "Gradients",
    "Implementation",
    "LAWS",
    "Law",
    "OneShot",
    "Outputs",
    "Pullback",
    "Result",
    "TwoPhase",
    "Verdict",
    "assert_op",
    "check",
    "judge",
    "own_arrays",
    "parametrize_with_laws",
]
_ELSEWHERE = {
    "LAWS": "bpttcheck.laws",
    "Law": "bpttcheck.laws",
    "Result": "bpttcheck.running.results",
    "Verdict": "bpttcheck.reporting.own_code",
    "assert_op": "bpttcheck.reporting.own_code",
    "check": "bpttcheck.reporting.own_code",
    "judge": "bpttcheck.running.verdict",
    "own_arrays": "bpttcheck.adapters.own_arrays.building",
    "parametrize_with_laws": "bpttcheck.reporting.checks",
}  # all others are in the contract


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "bpttcheck.contract")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
