"""Ten styles of hand-written code, each checked in its own names and shapes; a planted mistake is named or located."""

import inspect
import re
import shutil
from functools import partial

import numpy as np
import pytest

import bpttcheck
from bpttref import Regular

from . import ten_styles as styles

ZEROS = np.zeros
SMALL = {"examples": 6, "sizes": {"T": range(1, 5)}}


def columns(slip, folder, **how):
    return bpttcheck.check(
        styles.columns_forward,
        partial(styles.columns_backward, slip=slip),
        parameters={"W": ZEROS((3, 5)), "b": ZEROS((3, 1))},
        x=[ZEROS((2, 1))] * 4,
        **how,
    )


def course(slip, folder, **how):
    weights = {"W" + gate: ZEROS((3, 5)) for gate in "fico"} | {"b" + gate: ZEROS((3, 1)) for gate in "fico"}
    return bpttcheck.check(
        styles.lstm_step,
        step_back=partial(styles.lstm_step_back, slip=slip),
        parameters=weights,
        x=ZEROS((2, 4, 5)),
        states=(ZEROS((3, 4)), ZEROS((3, 4))),
        time=2,
        **how,
    )


def network(slip, folder, **how):
    def run(p, x):
        net = styles.Network(2, 3, slip)
        vars(net).update(p)

        def pullback(dy):
            net.backward(dy)
            return vars(net)

        return net.forward(x), pullback

    p = {name: getattr(styles.Network(2, 3), name) for name in ("Wxh", "Whh", "bh")}
    return bpttcheck.check(run, parameters=p, x=ZEROS((4, 5, 2)), time=1, **how)


def last_only(slip, folder, **how):
    return bpttcheck.check(
        partial(styles.last_only, slip=slip),
        parameters={"U": ZEROS((2, 3)), "W": ZEROS((3, 3)), "V": ZEROS((3, 1))},
        x=ZEROS((4, 5, 2)),
        states=ZEROS((4, 3)),
        time=1,
        name="last-only",
        **how,
    )


def character(slip, folder, **how):
    shapes = {"Wxh": (3, 7), "Whh": (3, 3), "Why": (7, 3), "bh": (3, 1), "by": (7, 1)}
    return bpttcheck.check(
        partial(styles.character_loss, slip=slip),
        parameters={name: ZEROS(shape) for name, shape in shapes.items()},
        x={"inputs": np.arange(7), "targets": np.arange(7)},
        clip=5,
        name="characters",
        **how,
    )


def training(slip, folder, **how):
    return bpttcheck.check(
        partial(styles.train_step, slip=slip),
        parameters={"U": ZEROS((2, 3)), "W": ZEROS((3, 3)), "V": ZEROS((3, 1))},
        x={"x": ZEROS((5, 4, 2)), "y": ZEROS((5, 4, 1))},
        rate=0.05,
        name="training",
        **how,
    )


def gru(slip, folder, **how):
    p = styles.Gru(ZEROS((2, 9)), ZEROS((3, 9)), ZEROS(9))
    return bpttcheck.check(
        partial(styles.gru, slip=slip), parameters=p, x=ZEROS((5, 4, 2)), states=ZEROS((4, 3)), name="gru", **how
    )


def stacked(slip, folder, **how):
    layers = [{"U": ZEROS((2, 3)), "W": ZEROS((3, 3))}, {"U": ZEROS((3, 3)), "W": ZEROS((3, 3))}]
    return bpttcheck.check(
        partial(styles.stacked, slip=slip), parameters=layers, x=ZEROS((5, 4, 2)), name="stacked", **how
    )


def truncated(slip, folder, **how):
    return bpttcheck.check(
        partial(styles.truncated, slip=slip),
        parameters={"decay": np.full(3, 0.5)},
        x=ZEROS((5, 4, 3)),
        domains={"decay": "(0, 1)"},
        truncation={"tau": Regular},
        name="truncated",
        **how,
    )


def in_c(slip, folder, **how):
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    run = styles.leaky_in_c(folder, slip)
    return bpttcheck.check(run, parameters=ZEROS(3), x=ZEROS((5, 3)), batch=None, name="in-c", **how)


STYLES = {
    columns: r"own-forward-derivative on .* W is off by",
    course: r"own-forward-derivative on .* (Wo|bo) is off by",
    network: r"batch-gradient-is-sum on .* bh is off by",
    last_only: r"own-forward-derivative on .* initial.h is off by",
    character: r"own-loss-derivative on .* Whh is off by",
    training: r"loss-adds-up-over-rows on .* [UVW] is off by .* also broken: own-loss-derivative",
    gru: r"own-forward-derivative on .* (U|initial.h) is off by",
    stacked: r"own-forward-derivative on .* layers0/[UW] is off by",
    truncated: r"full BPTT is correct: look at where the truncation cuts",
    in_c: r"own-forward-derivative on .* x\[t=0\] is off by",
}


@pytest.mark.parametrize("style", STYLES)
def test_correct_code_passes(style, tmp_path):
    style(False, tmp_path, **SMALL)


@pytest.mark.parametrize(("style", "said"), STYLES.items())
def test_a_mistake_is_named_or_located(style, said, tmp_path):
    verdict = style(True, tmp_path, raises=False, **SMALL)
    assert re.search(said, " ".join(verdict.failure.split()))


def test_each_is_checked_in_few_lines():
    lines = {style.__name__: len(inspect.getsource(style).splitlines()) - 1 for style in STYLES}
    assert max(lines.values()) <= 14, lines
