"""The laws: one file for each family; `LAWS` is the registry that all of bpttcheck runs."""

from dataclasses import replace

from bpttcheck.laws import (
    affine,
    agreement,
    algebra,
    batch,
    calling,
    contract,
    derivative,
    direction,
    edge,
    factors,
    finite,
    objective,
    padding,
    purity,
    randomized,
    resets,
    time,
    truncation,
    xray,
)
from bpttcheck.laws.law import Law

_FAMILIES = (
    contract,
    finite,
    agreement,
    factors,
    derivative,
    algebra,
    affine,
    time,
    batch,
    purity,
    padding,
    resets,
    direction,
    edge,
    truncation,
    xray,
    randomized,
    objective,
    calling,
)

LAWS: tuple[Law, ...] = tuple(
    replace(law, family=family.__name__.rpartition(".")[2]) for family in _FAMILIES for law in family.LAWS
)
"""All laws, a tuple of `Law`, family by family: what `judge` is given unless some are chosen."""

__all__ = ["LAWS", "Law"]
