"""A linear recurrence S' = a S + u that is computed chunk by chunk, as kernels do: C steps at once.

bpttcheck does not know the cell: a = sigmoid(3 + f) is one decay for each unit, u = x V, and y = S'. In a chunk each
output is a sum of powers of a times the inputs. A slip in the exponents is a forward mistake with a correct gradient;
the others are mistakes in the pass backward.
"""

import numpy as np
import pytest

from bpttcheck import Capabilities, CustomCell, Gradients, Outputs
from bpttcheck.cases.drawing import draw_case
from bpttcheck.cases.realising import realise
from bpttcheck.laws import Law
from bpttcheck.measuring.comparisons import Comparison
from bpttcheck.measuring.trial import Trial
from bpttcheck.running.evaluating import evaluate

from .judging import alarms, red, statuses

NEVER = -1  # the exponent where nothing passes
CELL = CustomCell("decaying-sum", lambda D, H: {"V": (D, H), "f": (H,)}, lambda H: {"S": (H,)})

DECLARED = Capabilities(cells=(CELL,))


class Chunked:
    """In a chunk of n steps, inputs are the n rows of u and S; outputs are the n rows of y and S'."""

    def __init__(self, C, dtype="float64", slip="", **declared):
        self.name, self.C, self.slip = slip or "chunked", C, slip
        self.declared = Capabilities(cells=(CELL,), dtypes=(dtype,), **declared)

    def capabilities(self):
        return self.declared

    def exponents(self, n, C):
        """From each input to each output, ``(n + 1, n + 1)``."""
        t, s = np.minimum(np.arange(n + 1), n - 1), np.append(np.arange(n), -1)
        E = np.maximum(t[:, None] - s, NEVER)
        if self.slip == "decays once too little":
            E[:-1, -1] -= 1
        if self.slip == "last of a full chunk lost" and n == C:
            E[-1, n - 1] = NEVER
        if self.slip == "padding decays" and n < C:
            E[-1, -1] = C
        return E

    def vjp(self, case):
        p, x, C, slip = case.parameters[0][0], case.x, case.chunk or self.C, self.slip
        T, dtype = len(x), x.dtype
        a = (1 / (1 + np.exp(-3 - p["f"].astype("float64"))))[:, None, None]
        u, S, y, chunks = x @ p["V"], case.initial[0][0]["S"], [], []
        for start in range(0, T, C):
            E = self.exponents(min(C, T - start), C)
            powers = np.where(E < 0, 0, a ** np.maximum(E, 0)).astype(dtype)
            slopes = np.where(E < 0, 0, E * a ** np.maximum(E - 1, 0) * a * (1 - a)).astype(dtype)
            given = np.concatenate([u[start : start + C], S[None]])
            out = np.einsum("hij,jbh->ibh", powers, given).astype(dtype)
            y, S = [*y, *out[:-1]], out[-1]
            chunks.append((start, powers, slopes, given))

        def pullback(cotangents):
            dS = np.zeros_like(S) if cotangents.final is None else cotangents.final[0][0]["S"]
            df, du = np.zeros_like(p["f"]), np.zeros_like(u)
            for k, (start, powers, slopes, given) in reversed([*enumerate(chunks)]):
                dy = np.zeros_like(u) if cotangents.y is None else cotangents.y
                d = np.concatenate([dy[start : start + C], dS[None]])
                if slip == "state of the chunk before" and k:
                    given = np.concatenate([given[:-1], chunks[k - 1][3][-1:]])
                if not (slip == "a short chunk has no slope" and len(given) <= C):
                    df = df + np.einsum("ibh,hij,jbh->h", d, slopes, given).astype(dtype)
                back = np.einsum("hij,ibh->jbh", powers, d).astype(dtype)
                du[start : start + C] = back[:-1]
                dS = 0 * dS if slip == "carry cut" and k else back[-1]
            dV = np.einsum("tbd,tbh->dh", x, du)
            return Gradients((du @ p["V"].T).astype(dtype), (({"V": dV, "f": df},),), (({"S": dS},),))

        return Outputs(np.reshape(y, u.shape).astype(dtype), (({"S": S},),)), pullback


SLIPS = {  # and the law that sees each
    "decays once too little": "split-resume-states",
    "last of a full chunk lost": "split-resume-states",
    "padding decays": "split-resume-states",
    "carry cut": "split-resume-pullback",
    "state of the chunk before": "split-resume-pullback",
    "a short chunk has no slope": "split-resume-pullback",
}


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("C", [1, 4, 64])
def test_correct_chunks_are_green(C, dtype):
    assert not alarms(Chunked(C, dtype), examples=16)


@pytest.mark.parametrize("C", [4, 16])
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_between_chunks_is_red(slip, C):
    """In a usual run, once the size of the chunks is declared."""
    assert red(Chunked(C, slip=slip, chunks=(C,)), SLIPS[slip], examples=16) == {SLIPS[slip]}


@pytest.mark.parametrize("slip", ["last of a full chunk lost", "padding decays"])
def test_a_slip_that_depends_on_the_size_of_chunks_is_red(slip):
    law = "chunk-size-does-not-matter"
    assert not alarms(Chunked(4, chunks=(4, 6)), law, examples=16)
    assert red(Chunked(4, slip=slip, chunks=(4, 6)), law, examples=16) == {law}


@pytest.mark.parametrize("C", [1, 4, 64])
def test_lengths_lie_around_the_multiples(C):
    rng, declared = np.random.default_rng(0), Capabilities(cells=(CELL,), chunks=(C,))
    drawn = {draw_case(rng, declared, k).T for k in range(64)}
    assert drawn >= {C - 1, C, C + 1, 2 * C + 1} - {0}
    assert max(drawn) <= max(2 * C + 1, 7)


@pytest.mark.parametrize(("array", "first"), [("y", "y[t=2]"), ("x", "x[t=5]"), ("x.q", "x.q[t=5]")])
def test_the_first_incorrect_step_is_named(array, first):
    """And not the worst: gradients of inputs are computed backwards."""
    errors = [0, 0, 2, 9, 8, 2, 0, 0]
    law = Law("any", "", "", "", lambda trial: [Comparison(f"{array}[t={t}]", e, 1.0) for t, e in enumerate(errors)])
    case, cotangents = realise(draw_case(np.random.default_rng(0), DECLARED, 0), CELL, "float64", DECLARED)
    finding = evaluate(law, Trial(Chunked(4), DECLARED, case, cotangents))
    assert finding.failed and finding.sentence().startswith(f"{first} is off by 2")


def test_only_whole_chunks_may_be_declared():
    """All laws prove something even so: sequences are split where a split is declared."""
    whole = {"sizes": {"T": (8, 16, 24)}, "truncations": ()}
    found = statuses(Chunked(8, **whole), examples=24)
    assert set(found.values()) == {"passed", "skipped"}
    assert red(Chunked(8, slip="carry cut", **whole), "tied-gradient-is-sum") == {"tied-gradient-is-sum"}


def test_whole_chunks_that_only_a_refusal_shows():
    """Laws that need other lengths prove nothing then; the others still see a mistake."""
    whole = {"sizes": {"T": (8, 16)}, "refuses": lambda case: "no whole chunk" if len(case.x) % 8 else None}
    found = statuses(Chunked(8, **whole), examples=16)
    assert set(found.values()) <= {"passed", "skipped", "vacuous"} and found["own-forward-derivative"] == "passed"
    assert red(Chunked(8, slip="carry cut", **whole), "own-forward-derivative") == {"own-forward-derivative"}
