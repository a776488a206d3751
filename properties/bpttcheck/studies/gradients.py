"""How gradients travel through time in any implementation (D2L 9.7.1), measured from outside.

The implementation runs step by step, each from the states that it returned for the step before. One pullback of each
unit cotangent of the final states gives a row of J_t (the gradient of the initial states) and of U_t (the gradient of
the parameters). The rest is `bpttref.analysis`.
"""

from dataclasses import dataclass, replace

import numpy as np

from bpttcheck.cases.blocks import Named, named
from bpttcheck.cases.drawing import Draw
from bpttcheck.cases.realising import KEEPING, realise
from bpttcheck.contract import Case, Cotangents, CustomCell, Implementation
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.requiring import require
from bpttcheck.measuring.trial import Trial
from bpttref import RNN, Cell, analysis
from bpttref.arrays import Array
from bpttref.unrolling import forward

_MOST = 2**27  # numbers in U: 1 GiB


@dataclass(frozen=True)
class Setting:
    """The problem: one row of ``inputs`` standard normal features.

    Weight matrices are normal with standard deviation ``scale`` / sqrt(units): the spectral radius of a recurrent
    matrix is about ``scale``. gate_bias is added to the bias of the gate that keeps: f of LSTM, z of GRU.
    Raises ValueError where a number makes no sense.
    """

    length: int = 192
    units: int = 16
    inputs: int = 4
    scale: float = 1.0
    gate_bias: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.length <= 1000:
            raise ValueError(f"length must lie between 8 and 1000, not {self.length}")
        if min(self.units, self.inputs) < 1:
            raise ValueError("there must be at least one unit and one input")
        if not 0 < self.scale <= 1000:
            raise ValueError(f"scale must be above 0 and at most 1000, not {self.scale}")
        if not abs(self.gate_bias) <= 1000:
            raise ValueError(f"gate bias must lie between -1000 and 1000, not {self.gate_bias}")


@dataclass(frozen=True, eq=False)
class Analysis:
    """The measurements for one cell; sizes, products and gates are base-2 logarithms, see `bpttref.analysis`.

    singular, eigenvalues: ``(T, n)``, of J_t, the largest first. products: singular values and eigenvalues' moduli of
    the products of the last k. rate: of dh_t/dh_s per step. bound: ||W_hh||, which no plain RNN's rate exceeds.
    gate: the gate that keeps, its products along the path and their rate; None for other cells.
    """

    cell: str
    sizes: analysis.Sizes
    singular: Array
    eigenvalues: Array
    products: tuple[Array, Array]
    rate: float
    bound: float | None
    gate: str | None
    gates: Array | None
    gate_rate: float | None
    horizon: analysis.Lag
    overflow: analysis.Lag
    underflow: analysis.Lag


def analyse(subject: Implementation, cell: Cell | CustomCell, setting: Setting) -> Analysis:
    """Measure one cell of an implementation, in float64.

    Raises ValueError if the implementation does not support it, or if its numbers leave float64.
    """
    case = problem(subject, cell, setting)
    J, U = jacobians(subject, case)
    H = next(iter(named(Cotangents(None, case.initial)).values())).size
    dy = np.random.default_rng([setting.seed, 1]).standard_normal((len(J), H))
    sizes = analysis.sizes(J, U, dy)
    per_step = analysis.rate(sizes.norms)
    gate = KEEPING.get(type(cell))
    gates = None if gate is None else analysis.gate_products(_gates(case, gate))
    eigenvalues = np.linalg.eigvals(J)
    order = np.argsort(-np.abs(eigenvalues), axis=1)
    return Analysis(
        cell.name,
        sizes,
        np.linalg.svd(J, compute_uv=False),
        np.take_along_axis(eigenvalues, order, axis=1),
        analysis.products(J),
        per_step,
        float(np.linalg.norm(case.parameters[0][0]["W_hh"], 2)) if isinstance(cell, RNN) else None,
        gate,
        gates,
        None if gates is None else analysis.rate(gates),
        analysis.horizon(sizes.tails, per_step),
        analysis.overflow(sizes.entries, per_step),
        analysis.underflow(sizes.entries, per_step),
    )


def problem(subject: Implementation, cell: Cell | CustomCell, setting: Setting) -> Case:
    """The case of a setting. Its inputs are the same for all cells, and the beginning of the inputs of a longer case.

    Raises ValueError if the implementation cannot be analysed.
    """
    require(
        subject,
        "be analysed",
        inputs=("dense", "initial"),
        outputs=("final",),
        gradients=("initial", "parameters"),
    )
    capabilities = capabilities_of(subject)
    deviation = setting.scale / float(np.sqrt(setting.units))
    draw = Draw(1, 1, setting.inputs, setting.units, 1, False, False, False, False, deviation, setting.seed)
    case, _ = realise(draw, cell, "float64", capabilities)
    parameters = dict(case.parameters[0][0])
    if not parameters:
        raise ValueError(f"{subject.name} cannot be analysed: {cell.name} has no parameters")
    if not isinstance(cell, CustomCell) and setting.gate_bias and type(cell) in KEEPING:
        if capabilities.biases == 0:
            raise ValueError(f"{cell.name} of {subject.name} has no biases: choose --gate-bias 0")
        rows = _rows(cell, KEEPING[type(cell)], setting.units)
        parameters["b_hx"] = parameters["b_hx"].copy()
        parameters["b_hx"][rows] += setting.gate_bias
    x = np.random.default_rng([setting.seed, 2]).standard_normal((setting.length, 1, setting.inputs))
    return replace(case, x=x, parameters=((parameters,),), objective=None)


def jacobians(subject: Implementation, case: Case) -> tuple[Array, Array]:
    """``J (T, n, n)`` and ``U (T, n, P)`` of a case with one row, one pullback of ``subject`` per row of J_t.

    States and parameters are flattened in the order of their names in the case. Raises Violation where the
    implementation does not return all arrays, ValueError where numbers leave float64 or would not fit into memory, and
    as `Calls` does.
    """
    assert case.initial is not None
    parameters, like = dict(case.parameters[0][0]), dict(case.initial[0][0])
    T, n, P = case.T, sum(a.size for a in like.values()), sum(a.size for a in parameters.values())
    if T * n * P > _MOST:
        raise ValueError(
            f"{T} steps of {n} states and {P} parameters are {T * n * P / _MOST:.1f} times too many: "
            "choose a smaller length or fewer units"
        )
    trial = Trial(subject, capabilities_of(subject), case, Cotangents(None, case.initial))
    units = [Cotangents(None, _states(unit, like)) for unit in np.eye(n)]
    J, U = np.empty((T, n, n)), np.empty((T, n, P))
    for t in range(T):
        outputs, pullback = trial.run(replace(case, x=case.x[t : t + 1]))
        for i, unit in enumerate(units):
            row = trial.pull(pullback, unit)
            J[t, i], U[t, i] = _flat(row, "initial.", like), _flat(row, "", parameters)
        state = _flat(named(outputs), "final.", like)
        if not (np.isfinite(J[t]).all() and np.isfinite(U[t]).all() and np.isfinite(state).all()):
            raise ValueError(f"{case.cell.name} leaves float64 at step {t}: choose a smaller scale or length")
        case = replace(case, initial=_states(state, like))
    return J, U


def _states(vector: Array, like: Named) -> tuple[tuple[Named]]:
    """States of one layer and direction from one vector."""
    ends = np.cumsum([a.size for a in like.values()])[:-1]
    parts = zip(like, np.split(vector, ends), strict=True)
    return (({name: part.reshape(like[name].shape) for name, part in parts},),)


def _flat(arrays: Named, prefix: str, like: Named) -> Array:
    """The arrays that are named like others, as one vector."""
    return np.concatenate([arrays[prefix + name].ravel() for name in like])


def _rows(cell: Cell, gate: str, H: int) -> slice:
    """The rows of a gate in a stacked parameter."""
    k = cell.gates.index(gate)
    return slice(k * H, (k + 1) * H)


def _gates(case: Case, gate: str) -> Array:
    """The activations ``(T, H)`` of a known cell's gate, by the reference's forward pass."""
    assert case.initial is not None and not isinstance(case.cell, CustomCell)
    p, initial = case.parameters[0][0], case.initial[0][0]
    tape = forward(case.cell, p, case.x, tuple(initial[name] for name in case.cell.states)).tape
    return tape.gates[:, 0, _rows(case.cell, gate, p["W_hh"].shape[1])]
