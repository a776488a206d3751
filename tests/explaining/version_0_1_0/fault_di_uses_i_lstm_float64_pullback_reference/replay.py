"""pullback-reference is broken by fault:di-uses-i on lstm float64.

Every gradient is that of the reference, for independent cotangents of all outputs.    sbar_{t-1} = J_t' sbar_t + ybar_{t-1}
W_hx[gate i] is off by 0.00259, where 4.76e-17 is allowed

Run it:  python replay.py    or:  bpttcheck replay replay.py
"""

import sys
from pathlib import Path

from numpy import array, empty, float32, float64, inf, nan, uint32  # noqa: F401

from bpttcheck import Case, Cotangents
from bpttcheck.adapters import load
from bpttref import *  # noqa: F403

TARGET = 'fault:di-uses-i'
LAW = 'pullback-reference'
AGAINST = ''
subject = load(TARGET, Path(__file__).resolve().parent / '../..')
case = Case(
    cell=LSTM(),
    dtype='float64',
    parameters=(({'W_hx': array([[-0.125],
       [ 0.375],
       [ 0.125],
       [-0.375]]), 'W_hh': array([[ 0.25 ],
       [ 0.75 ],
       [ 0.5  ],
       [-0.375]]), 'b_hx': array([-0.75 , -0.375,  0.125, -1.25 ]), 'b_hh': array([-0.125, -0.625, -0.375, -0.375])},),),
    x=array([[[0.25]]]),
    initial=(({'h': array([[-0.25]]), 'c': array([[0.25]])},),),
    lengths=None,
    truncation=Full(),
    objective=None,
)
cotangents = Cotangents(
    y=array([[[-0.25]]]),
    final=(({'h': array([[1.25]]), 'c': array([[-0.25]])},),),
)


def check():
    """The empty string if the law holds, else what is wrong."""
    expected = array([[0.0014121524998533738]])
    allowed = 4.7611297126787686e-17
    outputs, pullback = subject.vjp(case)
    gradients = pullback(cotangents) if pullback else None
    got = gradients.parameters[0][0]["W_hx"][0:1]
    off = float(abs(got - expected).max())
    return "" if off <= allowed else f"W_hx[gate i] is off by {off:.3g}, where {allowed:.3g} is allowed"


if __name__ == "__main__":
    wrong = check()
    print(f"FAILED: {wrong}" if wrong else "FIXED")
    sys.exit(bool(wrong))
