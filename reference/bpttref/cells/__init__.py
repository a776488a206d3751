"""The cells: one file each, holding the equations, the forward step and the hand-derived pullback."""

from bpttref.cells.cell import Cell, State, Tape
from bpttref.cells.gru import GRU
from bpttref.cells.lstm import LSTM
from bpttref.cells.rnn import RNN

CELLS: tuple[Cell, ...] = (RNN("tanh"), RNN("relu"), RNN("identity"), LSTM(), GRU("after"), GRU("before"))
"""All cells with all their options, a tuple of `Cell`."""

__all__ = ["CELLS", "Cell", "GRU", "LSTM", "RNN", "State", "Tape"]
