"""bpttcheck: is this backpropagation through time right? Laws, drawn cases, and a verdict.

An adapter needs `Capabilities`, `Outputs` and `Gradients` (see `bpttcheck.contract`); `judge` runs the laws on it, and
`parametrize_with_laws` makes tests of them.
"""

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
    "judge",
    "parametrize_with_laws",
]
