"""Mistakes from packages and from people's own files: each is red wherever it is, and the correct file is green."""

from dataclasses import replace

import numpy as np
import pytest

from bpttref import Full, Regular, trees

from .hand_written import HandWritten
from .judging import statuses


class NothingBehindTheLongestRow(HandWritten):
    """Gradients where no row has a step any more are old contents of the memory."""

    def pulled(self, case, gradients):
        if case.lengths is not None:
            gradients.x[case.lengths.max() :] = 1
        return gradients


class AsLongAsTheLongestRow(HandWritten):
    """Outputs end with the longest row, not with x."""

    def returned(self, case, outputs):
        return outputs if case.lengths is None else outputs._replace(y=outputs.y[: case.lengths.max()])


class MaskForSeveralRows(HandWritten):
    """The mask is left out where there is one row."""

    def valid(self, case):
        return super().valid(replace(case, lengths=None) if case.x.shape[1] == 1 else case)


class WholeRows(HandWritten):
    """Rows of different lengths take another path, which knows no truncation."""

    def links(self, case):
        return super().links(case if case.lengths is None else replace(case, truncation=Full()))


class ParametersOfFull(HandWritten):
    """Truncation reaches the gradient of x only."""

    def vjp(self, case):
        outputs, pullback = super().vjp(case)
        if case.truncation == Full():
            return outputs, pullback
        _, full = super().vjp(replace(case, truncation=Full()))
        return outputs, lambda cotangents: pullback(cotangents)._replace(parameters=full(cotangents).parameters)


class NoWideColumns(HandWritten):
    """A block of columns of dW_hx is never written: an index of a fixed size."""

    def pulled(self, case, gradients):
        gradients.parameters[0][0]["W_hx"][:, int(6 + 20 * self.place) :] = 0
        return gradients


class ForgetsLongLags(HandWritten):
    """Contributions from further back than a fixed number of steps are lost."""

    def links(self, case):
        links = super().links(case).copy()
        links[: max(0, len(links) - int(20 + 40 * self.place))] = 0
        return links


class FirstStepDropped(HandWritten):
    """The loop backward ends one step early for x."""

    def pulled(self, case, gradients):
        gradients.x[:1] = 0
        return gradients


class InTheOrderOfTheLoop(HandWritten):
    """dx is collected from the last step to the first, and never turned round."""

    def pulled(self, case, gradients):
        return gradients._replace(x=gradients.x[::-1])


class SegmentsStartAnew(HandWritten):
    """Where rows have different lengths, each segment of truncated BPTT starts from the initial state."""

    def before(self, case, t, states):
        cut = case.lengths is not None and isinstance(case.truncation, Regular) and self.links(case)[t] == 0
        return states[0] if cut else states[-1]


class DoubleWhereTruncated(HandWritten):
    """Gradients of truncated BPTT have another dtype than gradients of full BPTT."""

    def pulled(self, case, gradients):
        if case.truncation == Full():
            return gradients
        return gradients._replace(parameters=trees.each(lambda a: a.astype("float64"), gradients.parameters))


class NoLossGradientsWhereTruncated(HandWritten):
    """The loop that owns its loss returns no gradient of the parameters where it is truncated."""

    def loss_and_gradients(self, case):
        outputs, gradients = super().loss_and_gradients(case)
        return outputs, gradients if case.truncation == Full() else gradients._replace(parameters=None)


SLIPS = {
    NothingBehindTheLongestRow: "pullback-reference",
    AsLongAsTheLongestRow: "forward-reference",
    MaskForSeveralRows: "batch-independence",
    WholeRows: "links-reference",
    ParametersOfFull: "links-reference",
    NoWideColumns: "pullback-reference",
    ForgetsLongLags: "pullback-reference",
    FirstStepDropped: "pullback-reference",
    InTheOrderOfTheLoop: "pullback-reference",
    SegmentsStartAnew: "truncation-leaves-states",
    DoubleWhereTruncated: "links-reference",
    NoLossGradientsWhereTruncated: "objective-truncated-reference",
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_correct_file_is_green(dtype):
    found = statuses(HandWritten(dtype), examples=40)
    assert set(found.values()) == {"passed", "skipped"}
    assert {law for law, status in found.items() if status == "passed"} >= set(SLIPS.values())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.__name__)
def test_a_slip_is_red(slip, seed):
    dtype = "float32" if slip is DoubleWhereTruncated else ("float32", "float64")[seed % 2]
    subject = slip(dtype, np.random.default_rng(seed).random())
    assert statuses(subject, SLIPS[slip], examples=40, seed=seed) == {SLIPS[slip]: "failed"}
