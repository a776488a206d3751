"""The description that a target gives of itself before it is tested."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from bpttcheck.contract import Capabilities, Implementation
from bpttcheck.laws import LAWS
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.requiring import require
from bpttcheck.printable import printable
from bpttcheck.running.question import Question, Share
from bpttcheck.targets import cell_named
from bpttcheck.versions import libraries


@dataclass(frozen=True)
class Introduction:
    """The description that a target gives of itself.

    name: its own. libraries: their versions, if they were requested. conventions: as declared. cells,
    dtypes: all of them. shares: the shares to test, in the order of a verdict, with the ids of the laws that can run.
    unfit: why the user's own sizes, case or implementation do not fit other shares. own: these, in words. gradients:
    whether it declares any. on_gpu: whether it uses one.
    """

    name: str
    libraries: Mapping[str, str]
    conventions: Mapping[str, str]
    cells: tuple[str, ...]
    dtypes: tuple[str, ...]
    shares: Mapping[Share, frozenset[str]]
    unfit: tuple[str, ...]
    own: str
    gradients: bool
    on_gpu: bool


def introduce(subject: Implementation, target: str, asked: Question, in_detail: bool = False) -> Introduction:
    """The introduction of an implementation. in_detail: whether libraries are looked up, which takes a moment.

    Raises ValueError, with a sentence, and TargetError where the user's own sizes, case or implementation cannot be
    used.
    """
    declared, own = capabilities_of(subject), asked.own()
    if own.sizes and own.case:
        raise ValueError("--case has its own sizes: leave out --sizes")
    if own.against:
        require(own.against, "be what others are compared with", inputs=(), outputs=(), gradients=())
    fitting, unfit = {}, []
    for share in shares(target, declared, asked):
        cell = cell_named(subject, share.cell)
        try:
            drawing = declared.at(own.sizes)
            if own.case is not None:
                own.case.holds(cell, share.dtype, drawing)
            if own.against and cell.name not in {other.name for other in capabilities_of(own.against).cells}:
                raise ValueError(f"{own.against.name}, which others are compared with, has no cell {cell.name}")
            if own.against and (less := capabilities_of(own.against).lacks(declared, cell)):
                raise ValueError(f"{own.against.name}, which others are compared with, lacks {less} of {cell.name}")
        except ValueError as error:
            unfit.append(str(error))
            continue
        about = Asked(subject, declared, cell, share.dtype, drawing, own.against)
        fitting[share] = frozenset(law.id for law in LAWS if not law.unmet(about))
    return Introduction(
        printable(str(subject.name)),
        libraries(subject) if in_detail else {},
        {printable(str(k)): printable(str(v)) for k, v in declared.conventions.items()},
        tuple(cell.name for cell in declared.cells),
        tuple(declared.dtypes),
        fitting,
        tuple(unfit),
        str(own),
        bool(declared.gradients),
        _holds_gpu(),
    )


def shares(target: str, declared: Capabilities, asked: Question) -> list[Share]:
    """The shares of one target that are tested, in the order of a verdict."""
    cells = [cell.name for cell in declared.cells if not asked.cells or cell.name in asked.cells]
    dtypes = [dtype for dtype in declared.dtypes if not asked.dtypes or dtype in asked.dtypes]
    return [Share(target, cell, dtype) for cell in cells for dtype in dtypes]


def _holds_gpu() -> bool:
    """Whether this process has the device of one open, as Linux shows it."""
    with suppress(OSError):
        for descriptor in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{descriptor}").startswith(
                    ("/dev/nvidia", "/dev/kfd", "/dev/dri/render")
                ):
                    return True
    return False
