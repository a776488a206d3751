"""bpttref: backpropagation through time in NumPy, written to be read and checked.

Start with `bpttref.cells` (the equations), `bpttref.unrolling` (the recursion over time) and `bpttref.strategies`
(the meanings of truncation); `bpttref.network` composes layers, directions and lengths.
"""

from bpttref.cells import CELLS, GRU, LSTM, RNN, Cell
from bpttref.checkpointing import checkpointed_vjp
from bpttref.losses import Evaluated, Objective
from bpttref.network import Cotangents, Gradients, Outputs, Pullback, vjp, zero_states
from bpttref.strategies import Blocks, Full, Last, Links, Random, Regular, Strategy, Window, weights
from bpttref.streaming import streamed_gradients

__all__ = [
    "Blocks",
    "CELLS",
    "Cell",
    "Cotangents",
    "Evaluated",
    "Full",
    "GRU",
    "Gradients",
    "LSTM",
    "Last",
    "Links",
    "Objective",
    "Outputs",
    "Pullback",
    "RNN",
    "Random",
    "Regular",
    "Strategy",
    "Window",
    "checkpointed_vjp",
    "streamed_gradients",
    "vjp",
    "weights",
    "zero_states",
]
