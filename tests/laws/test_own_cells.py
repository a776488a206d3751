"""Users' own cells, with several inputs, states of any shape, domains and derivatives that are meant to differ:
correct ones are green, and mistakes are red, by a law that looks at that place."""

from dataclasses import replace

import autograd.numpy as anp
import numpy as np
import pytest

from bpttcheck import LAWS, Capabilities, CustomCell, judge
from bpttcheck.cases.blocks import case_arrays
from bpttcheck.cases.changes import domain_of, ordinary, other_problem, with_other_steps, with_padding
from bpttcheck.cases.drawing import Draw, draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.custom_cell import inside
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.evaluating import evaluate
from bpttref import Cotangents, trees

from ..own_cells import CELLS, SMALL, Rotating, Subject
from ..thorough import some

SOME = ("gated-attention", "delta-rule", "selective-scan", "rotating")
EACH_CELL = pytest.mark.parametrize("name", some(CELLS, *SOME))


def judged(subject, *ids, dtype="float64", examples=10):
    laws = [law for law in LAWS if not ids or law.id in ids]
    return {r.law: r for r in judge(subject, laws, dtypes=[dtype], examples=examples, seed=1, shrink=False)}


def red(subject, *ids, **options):
    return {law for law, result in judged(subject, *ids, **options).items() if result.status in ("failed", "error")}


@EACH_CELL
def test_correct_cells_are_green(name):
    """A law that takes its turn with others may not have met the case that it needs."""
    dtype = "float64" if name in ("slstm", "delta-rule", "spiking") else "float32"
    found = judged(CELLS[name](sizes=SMALL), dtype=dtype, examples=8)
    assert {r.status for r in found.values()} <= {"passed", "skipped", "vacuous"}
    assert found["split-resume-states"].status == found["batch-permutation"].status == "passed"


def no_carry(case, pullback, cotangents):
    """The cotangent of the states is lost on its way back."""
    found = pullback(cotangents)
    return found._replace(initial=trees.scale(found.initial, 0))


def final_ignored(case, pullback, cotangents):
    return pullback(Cotangents(cotangents.y))


def of_one_input(by):
    """A mistake in the last stream that has a gradient, or in x; in only its last step."""

    def wrong(case, pullback, cotangents):
        found = pullback(cotangents)
        dx = found.x if isinstance(found.x, dict) else {"x": found.x}
        name = list(dx)[-1]
        dx[name] = dx[name].copy()
        dx[name][-1] *= by
        return found._replace(x=dx if isinstance(found.x, dict) else dx["x"])

    return wrong


def of_one_parameter(case, pullback, cotangents):
    found = pullback(cotangents)
    own = dict(found.parameters[0][0])
    if own:
        name = list(own)[-1]
        own[name] = 1.01 * own[name]
    return found._replace(parameters=((own,),))


MISTAKES = {
    "no carry": no_carry,
    "final cotangents ignored": final_ignored,
    "an input's gradient twice": of_one_input(2),
    "an input's gradient zero": of_one_input(0),
    "a parameter's gradient a hundredth off": of_one_parameter,
}
UNSEEN = {("gated-attention", "a parameter's gradient a hundredth off"), ("delta-rule", "a parameter's gradient a "
          "hundredth off")}  # they have no parameters  # fmt: skip
LINEAR_ALIKE = {"spiking"}  # of which no gradient is a derivative: a factor of them all is as good as another


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", some([name for name in CELLS if name != "rotating"], *SOME))
def test_mistakes_in_a_pullback_are_red(name, mistake):
    if (name, mistake) in UNSEEN or (name in LINEAR_ALIKE and "hundredth" in mistake):
        pytest.skip("there is nothing to be wrong")
    subject = CELLS[name](sizes=SMALL, wrong=MISTAKES[mistake])
    laws = ("own-forward-derivative", "split-resume-pullback", "linear-in-cotangents")
    assert any(red(subject, law, examples=8) for law in laws)


@pytest.mark.parametrize(("name", "mistake"), [
    ("selective-scan", of_one_parameter),
    ("delta-rule", of_one_input(0)),
    ("slstm", final_ignored),
    ("embedded", no_carry),
])  # fmt: skip
def test_mistakes_in_smooth_cells_leave_a_remainder(name, mistake):
    """The law does not run on a cell that does not declare to be smooth."""
    subject = CELLS[name](sizes=SMALL, wrong=mistake)
    assert red(subject, "taylor-remainder", examples=6) == {"taylor-remainder"}
    (found,) = judged(CELLS["min-gru"](sizes=SMALL), "taylor-remainder", examples=1).values()
    assert (found.status, found.reason) == ("skipped", "the cell is not known to be smooth")


def test_saturated_outputs_round_more_than_inputs_move_them():
    """Units at 1 except for a ten-thousandth: no rounding of the inputs changes a digit, and each output is rounded."""
    subject = CELLS["embedded"](dtypes=("float64",))
    draw = Draw(7, 1, 3, 2, 1, False, False, False, False, 8.0, 4286266369)
    trial = Trial(subject, subject.declared, *realise(draw, subject.cell, "float64", subject.declared))
    assert not evaluate(next(law for law in LAWS if law.id == "taylor-remainder"), trial).failed


def test_nothing_moves_whose_domain_is_a_function():
    """At its edge it would not move along a line; where there is nothing else, nothing is proved."""
    cell = CustomCell(
        "of-function",
        streams=lambda D, H: {"u": (H,)},
        domains={"u": lambda a: np.clip(a, -1, 1)},
        smooth=True,
    )
    subject = Subject(cell, lambda p, x, s: (anp.tanh(x["u"]), {}), dtypes=("float64",), truncations=())
    assert judged(subject, "taylor-remainder")["taylor-remainder"].status == "vacuous"


def test_only_this_law_sees_an_overflow_where_units_saturate():
    """A sigmoid of two exponentials; the other is correct."""

    def gated(sigmoid, *large):
        def step(p, x, s):
            h = s["h"] * sigmoid(anp.dot(x["u"], p["W"]))
            return h, {"h": h}

        cell = CustomCell(
            "gated",
            parameters=lambda D, H: {"W": (H, H)},
            states=lambda H: {"h": (H,)},
            streams=lambda D, H: {"u": (H,)},
            saturates=large,
        )
        return Subject(cell, step, sizes=SMALL)

    def overflowing(a):
        return anp.exp(a) / (1 + anp.exp(a))

    law = "saturated-is-finite"
    assert red(gated(overflowing, "W"), examples=4) == {law}
    for large in (["W"], ["u"], ["W", "u"]):
        assert red(gated(overflowing, *large), law, examples=4) == {law}
        assert red(gated(lambda a: (1 + anp.tanh(a / 2)) / 2, *large), law, examples=4) == set()


def test_a_softplus_that_overflows_is_seen_in_an_slstm():
    """The cell of the tests: the logarithm of a forget gate is -log(1 + e^-f), computed literally."""
    subject = CELLS["slstm"](sizes=SMALL)
    subject.cell = replace(subject.cell, saturates=("W", "b"))
    subject.declared = replace(subject.declared, cells=(subject.cell,))
    found = judged(subject, "saturated-is-finite", examples=4)["saturated-is-finite"]
    assert found.status == "failed" and "is not finite where W and b are made 1e4" in found.reason


@pytest.mark.parametrize("slip", ["a", "b", "c"])
def test_a_conjugate_that_is_not_taken_is_red(slip):
    assert "own-forward-derivative" in red(Rotating(slip))


@pytest.mark.parametrize(("learned", "found"), [
    (lambda dh: dh.sum(0), set()),
    (lambda dh: 0 * dh.sum(0), {"initial-left-out"}),
    (lambda dh: dh.mean(0), {"initial-left-out"}),
    (lambda dh: dh[0], {"initial-left-out"}),
])  # fmt: skip
def test_an_initial_state_that_is_a_parameter(learned, found):
    """It gets the gradients of all rows, once no other state is given."""
    assert red(Rotating(learned=learned)) == found
    assert judged(Rotating(learned=learned))["initial-left-out"].examples


def test_intended_differences_are_declared_and_no_others_pass():
    """Without the declaration the stabiliser's states and the surrogate are failed."""
    law = "own-forward-derivative"
    found = judged(CELLS["slstm"](sizes=SMALL), law)[law]
    assert found.status == "passed" and found.left_out == ("c", "n")
    assert "differ from the derivatives" in judged(CELLS["spiking"](sizes=SMALL), law)[law].reason
    for name in ("slstm", "spiking"):
        subject = CELLS[name](sizes=SMALL)
        undeclared = CustomCell(**{**vars(subject.cell), "surrogate": ()})
        subject.declared = Capabilities(cells=(undeclared,), dtypes=("float64",), sizes=SMALL)
        assert red(subject, law, examples=40) == {law}


@pytest.mark.parametrize("domain", [
    "positive", "negative", "(0, 1)", "unit norm", range(3, 9, 2), bool, lambda a: np.sort(a, axis=-1), None
])  # fmt: skip
def test_numbers_stay_in_their_domain(domain):
    """As they are drawn, round or not, in each dtype, and in each problem that is made of them."""
    cell = CustomCell(
        "of-domain",
        streams=lambda D, H: {"s": (H,)},
        states=lambda H: {} if domain in (bool, range(3, 9, 2)) else {"h": (H,)},
        domains={"s": domain} if domain in (bool, range(3, 9, 2)) else {"s": domain, "h": domain} if domain else {},
    )

    def are_inside(array):
        if domain is bool or isinstance(domain, range):
            return array.dtype.kind in "bi" and np.isin(array, [0, 1] if domain is bool else domain).all()
        return array.dtype.kind == "f" and np.allclose(array, inside(domain, array), rtol=2e-2)

    for dtype in ("bfloat16", "float16", "float32", "float64"):
        declared = Capabilities(cells=(cell,), dtypes=(dtype,), inputs=("dense", "initial", "lengths"))
        for k in range(16):
            case, cotangents = realise(draw_case(np.random.default_rng(k), declared, k), cell, dtype, declared)
            others = [case, other_problem(case), with_other_steps(case, case.T // 2), with_padding(case, 1e6)]
            for other in [*others, ordinary(case, cotangents)[0]]:
                assert are_inside(other.x["s"]) and all(map(are_inside, case_arrays(other).values()))
            if domain is not None and (case.T > 1 or domain in (bool, range(3, 9, 2))):
                assert not np.array_equal(case.x["s"], with_other_steps(case, 0).x["s"]) or domain == "unit norm"
            assert domain_of(case, "x.s") == domain


@pytest.mark.parametrize(("declared", "said"), [
    ({"domains": {"h": "positiv"}}, "the domain of h must be 'positive', "),
    ({"domains": {"h": range(0)}}, "is empty"),
    ({"without_cotangent": "h"}, "must be a collection of names"),
    ({"domains": {"q": "positive"}}, "names 'q', which is no parameter, state or stream"),
    ({"domains": {"h": bool}}, "which only a stream may"),
    ({"without_cotangent": ["W"]}, "which is no state"),
    ({"streams": lambda D, H: {}}, "declares streams, but there is none"),
    ({"streams": lambda D, H: {"a.b": ()}}, "must not be called 'a.b'"),
    ({"streams": lambda D, H: {"h": ()}, "surrogate": ["h"]}, "there are two of that name"),
    ({"affine": {"h": "h"}}, "affine must name outputs for h, such as"),
    ({"affine": {"W": ["y"]}}, "affine of own names 'W', which is no state"),
    ({"affine": {"h": ["z"]}}, "names 'z', which is neither y nor a state"),
    ({"affine": {"h": ["h"]}, "domains": {"h": "unit norm"}}, "whose domain 'unit norm' holds nothing between"),
    ({"affine": ("h",)}, "affine must map states to the outputs"),
    ({"saturates": "W"}, "saturates must be a collection of names"),
    ({"saturates": ["q"]}, "names 'q', which is no parameter, state or stream"),
    ({"saturates": ["W"], "domains": {"W": "(0, 1)"}}, "holds no large numbers"),
])  # fmt: skip
def test_a_declaration_that_makes_no_sense_is_one_sentence(declared, said):
    with pytest.raises(ValueError, match=said):
        CustomCell("own", lambda D, H: {"W": (D, H)}, lambda H: {"h": (H,)}, **declared).shapes(2, 3)


def test_a_function_that_is_no_projection_is_refused():
    cell = CustomCell("own", streams=lambda D, H: {"s": (H,)}, domains={"s": np.tanh})
    declared = Capabilities(cells=(cell,))
    with pytest.raises(ValueError, match="must leave numbers that are in it as they are"):
        realise(draw_case(np.random.default_rng(0), declared, 0), cell, "float64", declared)
