"""Planted faults: the smallest changes to the reference that repeat bugs which were really shipped.

Each is an implementation of its own, so that ``bpttcheck verify fault:dW-overwrite`` shows what a verdict looks like
when that bug is there. They stand by class: in a cell's equations, in the pullback and the outputs, in what one call
leaves behind for the next, in truncation, in the loss. The tests hold every fault to the laws that must catch it.
"""

from bpttcheck.faults import equations, pulling, remembering, scoring, truncating
from bpttcheck.faults.planting import Fault, Faulty
from bpttcheck.faults.pulling import gate_orders

FAULTS: tuple[Fault, ...] = (
    *equations.FAULTS,
    *pulling.FAULTS,
    *remembering.FAULTS,
    *truncating.FAULTS,
    *scoring.FAULTS,
)

__all__ = ["FAULTS", "Fault", "Faulty", "gate_orders"]
