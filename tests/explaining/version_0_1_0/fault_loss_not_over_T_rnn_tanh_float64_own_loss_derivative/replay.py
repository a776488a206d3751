"""own-loss-derivative is broken by fault:loss-not-over-T on rnn-tanh float64.

The gradients are those of the loss that the subject reports, by central differences.    <dL, v> = d/de L(w + e v) at e = 0
x[t=0] is off by 3.96e-05, where 5.43e-13 is allowed

Run it:  python replay.py    or:  bpttcheck replay replay.py
"""

import sys
from pathlib import Path

from numpy import array, empty, float32, float64, inf, nan, uint32  # noqa: F401

from bpttcheck import Case, Cotangents
from bpttcheck.adapters import load
from bpttref import *  # noqa: F403

TARGET = 'fault:loss-not-over-T'
LAW = 'own-loss-derivative'
AGAINST = ''
subject = load(TARGET, Path(__file__).resolve().parent / '../..')
case = Case(
    cell=RNN(activation='tanh'),
    dtype='float64',
    parameters=(({'W_hx': array([[0.375]]), 'W_hh': array([[0.125]]), 'b_hx': array([-0.375]), 'b_hh': array([0.25])},),),
    x=array([[[ 0.25]],

       [[-0.25]]]),
    initial=(({'h': array([[0.75]])},),),
    lengths=None,
    truncation=Full(),
    objective=Objective(kind='linear', targets=array([[[ 0.25]],

       [[-2.5 ]]]), W_qh=None, b_q=None, weights=array([1.25, 2.  ]), scale=1.0),
)
cotangents = Cotangents(
    y=array([[[-0.25]],

       [[-1.25]]]),
    final=(({'h': array([[1.]])},),),
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
