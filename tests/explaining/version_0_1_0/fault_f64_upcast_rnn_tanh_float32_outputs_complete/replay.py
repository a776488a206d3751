"""outputs-complete is broken by fault:f64-upcast on rnn-tanh float32.

Outputs and final states are there, in the shapes of the case and in its dtype.    y: (T, B, directions*H), final states: (B, H)
the output y has dtype float64; expected float32

Run it:  python replay.py    or:  bpttcheck replay replay.py
"""

import sys
from pathlib import Path

from numpy import array, empty, float32, float64, inf, nan, uint32  # noqa: F401

from bpttcheck import Case, Cotangents
from bpttcheck.adapters import load
from bpttref import *  # noqa: F403

TARGET = 'fault:f64-upcast'
LAW = 'outputs-complete'
AGAINST = ''
subject = load(TARGET, Path(__file__).resolve().parent / '../..')
case = Case(
    cell=RNN(activation='tanh'),
    dtype='float32',
    parameters=(({'W_hx': array([[-0.125]], dtype=float32), 'W_hh': array([[0.375]], dtype=float32), 'b_hx': array([0.125], dtype=float32), 'b_hh': array([-0.375], dtype=float32)},),),
    x=array([[[0.25]]], dtype=float32),
    initial=(({'h': array([[0.25]], dtype=float32)},),),
    lengths=None,
    truncation=Full(),
    objective=None,
)
cotangents = Cotangents(
    y=array([[[0.5]]], dtype=float32),
    final=(({'h': array([[1.5]], dtype=float32)},),),
)


def check():
    """The empty string if the law holds, else what is wrong."""
    from bpttcheck.failure import again

    finding = again(LAW, subject, case, cotangents)
    return finding.sentence() if finding.failed else ""


if __name__ == "__main__":
    wrong = check()
    print(f"FAILED: {wrong}" if wrong else "FIXED")
    sys.exit(bool(wrong))
