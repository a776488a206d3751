"""Data that one call leaves behind for the next: a tape that is freed too early, a list that is never emptied.

These layers do not take a second pullback (``reusable=False``), so that a second call must show the mistake.
"""

from dataclasses import replace

import pytest
from click.testing import CliRunner

from bpttcheck.command_line import main
from bpttref import trees

from .hand_written import HandWritten
from .judging import alarms, statuses


class OnceEach(HandWritten):
    """Correct: each call has its own tape and its own states, and a pullback frees its own tape."""

    def __init__(self, dtype="float64"):
        super().__init__(dtype)
        self.calls, self.freed, self.first = 0, set(), []

    def capabilities(self):
        return replace(super().capabilities(), reusable=False, truncations=(), objectives=())

    def pullback(self, case, valid, states):
        self.calls += 1
        call, right = self.calls, super().pullback(case, valid, self.read(states))

        def pull(cotangents):
            gradients = right(cotangents) if call not in self.freed else self.pull_freed(right(cotangents))
            self.freed |= self.frees(call)
            return gradients

        return pull

    def frees(self, call):
        return {call}

    def pull_freed(self, gradients):
        return gradients._replace(parameters=trees.scale(gradients.parameters, 0))

    def read(self, states):
        return states


class FreesOlder(OnceEach):
    """A pullback frees the tapes of all earlier calls, too. A freed tape holds zeros."""

    def frees(self, call):
        return {*range(call + 1)}


class FreesOlderAndRaises(FreesOlder):
    def pull_freed(self, gradients):
        raise RuntimeError("the tape was freed")


class NeverEmptied(OnceEach):
    """A pullback reads the states of the first call of its size."""

    def read(self, states):
        if [a.shape for a in self.first] != [a.shape for a in states]:
            self.first = states
        return self.first


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_that_frees_its_own_tape_is_green(dtype):
    assert not alarms(OnceEach(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("wrong", "law", "status"), [
    (FreesOlder, "two-pullbacks-alive", "failed"),
    (FreesOlderAndRaises, "two-pullbacks-alive", "error"),
    (NeverEmptied, "batch-permutation", "failed"),
])  # fmt: skip
def test_data_left_behind_is_red(wrong, law, status, dtype):
    assert statuses(wrong(dtype), law) == {law: status}


@pytest.mark.parametrize(("kind", "status", "said"), [
    (OnceEach, 0, "1 passed."),
    (NeverEmptied, 1, "something is left behind by one call for the next"),
])  # fmt: skip
def test_the_command_line_reports_it(kind, status, said, tmp_path):
    few = ["--law", "batch-permutation", "--seed", "1", "--examples", "16", "--failures", str(tmp_path)]
    done = CliRunner().invoke(main, ["verify", f"{__name__}:{kind.__name__}", *few])
    assert done.exit_code == status and said in " ".join(done.output.split()), done.output
