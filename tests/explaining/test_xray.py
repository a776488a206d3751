"""The X-ray of a truncation: the reasons for its exit status, and the gradients that it is compared with."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from bpttcheck import Gradients
from bpttcheck.adapters.reference import Reference
from bpttcheck.adapters.step_function import StepFunction
from bpttcheck.command_line import main
from bpttcheck.explaining.xray import xray
from bpttcheck.faults import FAULTS
from bpttref import CELLS, LSTM, RNN, Blocks, Full, Last, Random, Regular, Window
from bpttref.trees import each, scale

RULES = (Full(), Regular(3), Window(3), Blocks(2, 3), Last(4))
BY_ID = {fault.id: fault for fault in FAULTS}


class Split(Reference):
    """The reference, except for one part of the gradients. whose: makes that part."""

    name = "split"

    def __init__(self, part, whose, when=lambda case: case.truncation != Full()):
        self.part, self.whose, self.when = part, whose, when

    def vjp(self, case):
        outputs, pullback = super().vjp(case)
        other = self.whose(self, case) if self.when(case) else pullback

        def mixed(cotangents):
            right, wrong = pullback(cotangents), other(cotangents)
            return right._replace(**{self.part: getattr(wrong, self.part)})

        return outputs, mixed


def untruncated(subject, case):
    return Reference.vjp(subject, replace(case, truncation=Full()))[1]


def of_steps(number):
    """Every gradient ``number`` times as large."""

    def whose(subject, case):
        pullback = Reference.vjp(subject, case)[1]

        def scaled(cotangents):
            found = pullback(cotangents)
            return Gradients(number * found.x, scale(found.parameters, number), found.initial)

        return scaled

    return whose


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("length", [5, 9])
def test_a_correct_truncation_is_as_declared(cell, rule, length):
    seen = xray(Reference(), cell, rule, length)
    assert seen.as_declared and seen.full is None and max(seen.leak, seen.parameters_leak) < 1e-9


@pytest.mark.parametrize("declared", [
    {"biases": 0}, {"biases": 1}, {"inputs": ("dense",)}, {"gradients": ("x",)},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_correct_truncation_is_as_declared_whatever_else_is_declared(cell, declared):
    class Own(Reference):
        def capabilities(self):
            return replace(super().capabilities(), **declared)

    seen = xray(Own(), cell, Regular(3), 8)
    assert seen.as_declared and (seen.parameters is None) == (declared.get("gradients") == ("x",))


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_float64_that_is_partly_single_precision_is_no_other_truncation(cell, rule):
    class Coarse(Reference):
        def vjp(self, case):
            outputs, pullback = super().vjp(case)
            rng = np.random.default_rng(1)

            def coarse(cotangents):
                def err(array):
                    return array + 1e-7 * np.abs(array).max(initial=0) * rng.standard_normal(array.shape)

                found = pullback(cotangents)
                return found._replace(x=err(found.x), parameters=each(err, found.parameters))

            return outputs, coarse

    assert xray(Coarse(), cell, rule, 9).as_declared


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("lag", [2, 7, 11])
def test_full_bptt_that_stops_after_some_steps_is_seen(cell, lag):
    """Also where the omitted gradients are tiny next to the others."""
    forgetful = Split("x", lambda self, case: Reference.vjp(self, replace(case, truncation=Window(lag)))[1],
                      when=lambda case: case.truncation == Full())  # fmt: skip
    seen = xray(forgetful, cell, Regular(3), 12)
    assert not seen.as_declared and f"through inputs a band of {lag}" in seen.full_in_words()


@pytest.mark.parametrize("rule", RULES[1:], ids=str)
@pytest.mark.parametrize("cell", [RNN("tanh"), LSTM(), CELLS[-1]], ids=lambda cell: cell.name)
@pytest.mark.parametrize("part", ["x", "parameters"])
def test_one_incorrect_matrix_is_enough(cell, rule, part):
    """A truncation that cuts one kind of gradient and not the other."""
    seen = xray(Split(part, untruncated), cell, rule, 8)
    words = {"x": seen.in_words(rule), "parameters": seen.parameters_in_words(rule)}
    assert not seen.as_declared and seen.full is None
    assert words.pop(part) == "full BPTT" and "full BPTT" not in words.popitem()[1]


@pytest.mark.parametrize("number", [0.5, 1.01, -1.0])
@pytest.mark.parametrize("part", ["x", "parameters"])
@pytest.mark.parametrize("cell", [RNN("relu"), LSTM(), CELLS[-1]], ids=lambda cell: cell.name)
def test_a_mistake_that_full_bptt_has_as_well_does_not_hide(cell, part, number):
    """Compared with its own full BPTT, the truncation would be perfect."""
    seen = xray(Split(part, of_steps(number), when=lambda case: True), cell, Regular(3), 8)
    assert not seen.as_declared and seen.full is not None
    assert seen.full_in_words().startswith("full BPTT, with no truncation, is incorrect already: ")
    only_full = xray(Split(part, of_steps(number), when=lambda case: case.truncation == Full()), cell, Regular(3), 8)
    assert not only_full.as_declared and only_full.shows(only_full.declared)


@pytest.mark.parametrize("fault_id", [
    "di-uses-i", "rnn-no-carry", "dW-overwrite", "setting-ignored", "segments-one-longer", "not-detached",
    "parameters-not-truncated-regular",
])  # fmt: skip
def test_a_fault_is_no_success(fault_id):
    result = CliRunner().invoke(main, ["xray", f"fault:{fault_id}", "--tau", "3", "--length", "7"])
    assert result.exit_code == 1, result.output
    wrong_already = "full BPTT, with no truncation, is incorrect already" in result.output
    assert wrong_already == (fault_id in ("di-uses-i", "rnn-no-carry", "dW-overwrite"))


@pytest.mark.parametrize(("asked", "fault_id"), [
    (("--strategy", "random", "--seed", "3"), "own-links-weighted-by-pi"),
    (("--strategy", "random", "--seed", "3"), "parameters-not-truncated-random"),
    (("--strategy", "links", "--xi", "1,0,2,1"), "parameters-not-truncated-links"),
])  # fmt: skip
def test_random_and_given_links(asked, fault_id):
    targets = ("reference", f"fault:{fault_id}")
    right, wrong = (CliRunner().invoke(main, ["xray", target, *asked, "--length", "7"]) for target in targets)
    assert right.exit_code == 0 and wrong.exit_code == 1, wrong.output
    rows = right.output.splitlines()[-7:]
    assert all(len({tuple(part.split()) for part in row.split("   ") if part.strip()}) == 1 for row in rows)
    assert "seen through parameters: " in wrong.output


def test_own_random_links_are_weighted_by_one_over_pi():
    class Own(Reference):
        name = "own"

        def vjp(self, case):
            if case.truncation != Full():
                case = replace(case, truncation=Random(0.5, case.truncation.seed + 17))
            return super().vjp(case)

    assert xray(Own(), RNN("tanh"), Random(0.5, 1), 8).as_declared
    assert not xray(Own(), RNN("tanh"), Random(0.25, 1), 8).as_declared


@pytest.mark.parametrize(("options", "said"), [
    (("links", "--xi", "a"), "--xi takes numbers with commas between, such as 1,0,2, and not 'a'"),
    (("random", "--pi", "0"), "pi must lie in (0, 1], not 0.0"),
])  # fmt: skip
def test_a_rule_that_is_none_is_one_sentence(options, said):
    result = CliRunner().invoke(main, ["xray", "reference", "--strategy", *options])
    assert result.exit_code == 2 and result.output == f"bpttcheck: {said}\n"


def test_an_unknown_cell_is_compared_with_itself():
    def step(parameters, x, states):
        h = np.tanh(x @ parameters["V"] + states["h"])
        return h, {"h": h}

    step = StepFunction(step, parameters=lambda D, H: {"V": (D, H)})
    seen = xray(step, step.capabilities().cells[0], Full(), 5)
    assert seen.as_declared and seen.parameters is None and seen.full_in_words() == ""
