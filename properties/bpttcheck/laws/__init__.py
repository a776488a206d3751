"""The laws: one family a file; `LAWS` is the registry that every door of bpttcheck runs."""

from bpttcheck.laws import (
    agreement,
    algebra,
    batch,
    contract,
    derivative,
    direction,
    edge,
    memory,
    objective,
    padding,
    purity,
    time,
    truncation,
)
from bpttcheck.laws.law import Law

LAWS: tuple[Law, ...] = (
    *contract.LAWS,
    *agreement.LAWS,
    *derivative.LAWS,
    *algebra.LAWS,
    *time.LAWS,
    *batch.LAWS,
    *purity.LAWS,
    *padding.LAWS,
    *direction.LAWS,
    *edge.LAWS,
    *truncation.LAWS,
    *objective.LAWS,
    *memory.LAWS,
)

__all__ = ["LAWS", "Law"]
