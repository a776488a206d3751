"""Operators as people write them, in PyTorch or JAX: both tests share the cells that they compute."""

from bpttcheck import CustomCell

HEADS = 2
ATTENTION = CustomCell(
    "gated-attention",
    streams=lambda D, H: {"q": (HEADS, D), "k": (HEADS, D), "v": (HEADS, H), "g": (HEADS, D)},
    states=lambda D, H: {"S": (HEADS, D, H)},
    width=lambda H: HEADS * H,
    domains={"g": "(0, 1)"},
)
POLICY = CustomCell(
    "policy",
    parameters=lambda D, H: {"W": (D, H), "U": (H, H), "E": (3, H)},
    states=lambda H: {"h": (H,)},
    streams=lambda D, H: {"seen": (D,), "action": (), "masked": ()},
    domains={"action": range(3), "masked": bool},
)
ROTATING = CustomCell(
    "rotating",
    parameters=lambda D, H: {"a": (H,), "c": (H,)},
    states=lambda H: {"z": (H,)},
    streams=lambda D, H: {"u": (H,)},
    domains={"a": complex, "c": complex, "z": complex},
)
SIZES = {"T": (1, 2, 3), "B": (1, 2), "D": (2,), "H": (3,)}
FEW = {"T": (1, 2, 4), "B": (1, 3), "D": (2,), "H": (3,)}  # where each shape is compiled
