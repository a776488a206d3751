"""The base of the adapters of the JAX family: a forward pass becomes an implementation by ``jax.vjp`` and ``jax.jvp``.

An adapter gives ``unroll``, of one layer, from parameters and states in the canonical layout. Whatever it does to bring
them into the library's layout is differentiated with the rest, so that gradients come back in the layout of the case.
Layers are stacked here.

Truncation is by ``stop_gradient``: the layer runs in segments of one step, and only the backward pass scales the
carried state, by the multiplier of the link. Cuts are data and not code, so no truncation needs a new compilation.

An objective is differentiated in a program of its own, whose cotangent goes to the program of the network: there are
many objectives, and compiling the network with each of them would take several times as long.

Gradients of complex numbers are conjugated, and so are cotangents that go in: the contract has PyTorch's convention.

JAX computes in float64 only with the option jax_enable_x64, for the whole process. Importing this module sets it.
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpttcheck.case import one_stream
from bpttcheck.cases.blocks import nested, streams
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttcheck.custom_cell import any_of
from bpttcheck.measuring.calls import Refused
from bpttref import Blocks, Cell, Full, Last, Window

jax.config.update("jax_enable_x64", True)

# Each new shape is compiled: they are few, with a sequence that splits into others and a row on its own. Repeated sizes
# are drawn more often.
SIZES = {"T": (1, 2, 2, 2, 8, 8), "B": (1, 5, 5, 5), "D": (3,), "H": (4,)}
# Compiled in a third of the time.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


class _Fixed(NamedTuple):
    """The facts for which a program is compiled, in addition to shapes."""

    cell: Cell | CustomCell
    chunk: int | None
    reset_to: str


class _At(NamedTuple):
    """Arrays for which there are gradients, x by the names of its streams."""

    x: Any
    parameters: Any
    initial: Any


class _Beside(NamedTuple):
    """The other arrays. whole: streams of whole numbers and flags, by name."""

    whole: Any
    lengths: Any
    resets: Any
    links: Any


class JaxSubject:
    """Base of an adapter.

    jit: whether the differentiated function is compiled as a whole. options: of XLA; its own defaults are ``{}``.
    sizes: as in `Capabilities`.
    """

    name: str

    def __init__(
        self,
        *,
        jit: bool = True,
        options: Mapping[str, bool | int | str] = QUICK,
        sizes: Mapping[str, Collection[int]] = SIZES,
    ) -> None:
        self.sizes = sizes

        def compiled(function: Any) -> Any:
            return jax.jit(function, static_argnums=0, compiler_options=dict(options)) if jit else function

        self._pull, self._push = compiled(self._outputs_and_gradients), compiled(self._tangents)
        self._score = compiled(self._loss_and_cotangents)
        self._shapes = jax.jit(self._outputs, static_argnums=0).eval_shape  # traced once for each shape, never compiled

    def capabilities(self) -> Capabilities:
        raise NotImplementedError

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        """y and final states, nested and named as in `Outputs`, from traced arrays nested and named as in a `Case` of
        one layer: ``parameters[0]`` and ``initial[0]``, with one direction or two.

        Where a case has them ``resets`` and ``chunk`` come by name. Without initial states ``initial[0]`` is None."""
        raise NotImplementedError

    def loss(self, kind: str, y: Any, readout: Any, targets: Any, weights: Any) -> Any:
        """The value of an objective, as in `bpttref.losses`. weights ``(T, B)``: times the scale."""
        if kind == "linear":
            losses = jnp.sum(targets * y, axis=-1)
        else:
            o = y @ readout["W_qh"].T + readout["b_q"]
            if kind == "squared-error":
                losses = jnp.sum((o - targets) ** 2, axis=-1) / 2
            else:
                losses = -jnp.take_along_axis(jax.nn.log_softmax(o), targets[..., None], axis=-1)[..., 0]
        return jnp.sum(weights * losses)

    def refuses(self, case: Case) -> str | None:
        """For `Capabilities`: a stack takes twice as long to compile as a layer, so it is not run in single rows."""
        if len(case.parameters) > 1 and case.B < max(self.sizes.get("B", (0,))):
            return "stacks are compiled only for the largest batch"
        return None

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        """Outputs come from the program that gives the gradients, too: one to compile instead of two."""
        arguments = _arguments(case)
        zeros: Outputs = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), self._shapes(*arguments))
        outputs: Outputs = _to_numpy(self._pull(*arguments, zeros)[0])

        def pullback(cotangents: Cotangents) -> Gradients:
            dy, final = cotangents
            given = Outputs(zeros.y if dy is None else dy, zeros.final if final is None else final)
            dx, *others = _to_numpy(jax.tree.map(np.conj, self._pull(*arguments, jax.tree.map(np.conj, given))[1]))
            return Gradients(nested(dx), *others)

        return outputs, pullback

    def loss_and_gradients(self, case: Case) -> tuple[Outputs, Gradients]:
        """Loss and gradients by ``jax.value_and_grad`` of `loss`, and the pullback of the network."""
        objective = case.objective
        assert objective is not None
        outputs, pullback = self.vjp(case)
        weights = objective.factors.astype(case.dtype)
        scored = self._score(objective.kind, outputs.y, objective.readout, objective.targets, weights)
        loss, (dy, readout) = _to_numpy(scored)
        return outputs._replace(loss=float(loss)), pullback(Cotangents(dy))._replace(readout=readout)

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        """The pushforward. Raises Refused where a ``jax.custom_vjp`` leaves none."""
        arguments = _arguments(case)
        dx = {name: array for name, array in streams(tangents.x).items() if name in arguments[1].x}
        moves = _At(dx, tangents.parameters, tangents.initial)
        try:
            pushed: Outputs = _to_numpy(self._push(*arguments, moves))
        except TypeError as error:
            if "custom_vjp" not in str(error):
                raise
            raise Refused("JAX has no forward mode for it: there is a jax.custom_vjp inside") from error
        return pushed

    def _outputs_and_gradients(self, fixed: _Fixed, at: _At, beside: _Beside, given: Outputs) -> tuple[Any, Any]:
        outputs, pull = jax.vjp(lambda moved: self._outputs(fixed, moved, beside), at)
        return outputs, pull(given)[0]

    def _loss_and_cotangents(self, kind: str, y: Any, readout: Any, targets: Any, weights: Any) -> Any:
        return jax.value_and_grad(partial(self.loss, kind), (0, 1))(y, readout, targets, weights)

    def _tangents(self, fixed: _Fixed, at: _At, beside: _Beside, tangents: _At) -> Any:
        return jax.jvp(lambda moved: self._outputs(fixed, moved, beside), (at,), (tangents,))[1]

    def _outputs(self, fixed: _Fixed, at: _At, beside: _Beside) -> Outputs:
        x = nested({**at.x, **beside.whole})
        if beside.links is None:
            return Outputs(*self._stack(fixed, at.parameters, x, at.initial, beside.lengths, beside.resets))

        T, B = one_stream(x).shape[:2]
        left = T if beside.lengths is None else beside.lengths
        live = jnp.broadcast_to(jnp.arange(T)[:, None] < left, (T, B))

        def step(state: Any, inputs: tuple[Any, Any, Any, Any]) -> tuple[Any, Any]:
            x, xi, live, reset = inputs
            before = jax.tree.map(lambda s: _linked(s, xi), state)
            if reset is not None and fixed.reset_to == "initial":
                before = jax.tree.map(partial(_where, reset), at.initial, before)
            now = nested({n: _where(live, a, _others(fixed.cell, n, a))[None] for n, a in streams(x).items()})
            y, after = self._stack(fixed, at.parameters, now, before, None, reset if reset is None else reset[None])
            state = jax.tree.map(partial(_where, live), after, state)
            return state, _where(live, y[0], jnp.zeros_like(y[0]))

        final, y = lax.scan(step, at.initial, (x, beside.links, live, beside.resets))
        return Outputs(y, final)

    def _stack(self, fixed: _Fixed, parameters: Any, x: Any, initial: Any, lengths: Any, resets: Any) -> Any:
        """y and final states. The outputs of a layer are the inputs of the next one."""
        beside = {} if resets is None else {"resets": resets}
        beside |= {} if fixed.chunk is None else {"chunk": fixed.chunk}
        y, final = x, []
        for layer, states in zip(parameters, initial or (None,) * len(parameters), strict=True):
            y, (ends,) = self.unroll(fixed.cell, (layer,), y, (states,), lengths, **beside)
            final.append(ends)
        return y, tuple(final)


def _arguments(case: Case) -> tuple[_Fixed, _At, _Beside]:
    """The facts that a program is compiled for, copies of the arrays for which there are gradients, x by the names of
    its streams, and the other arrays; None for absent lengths, resets and multipliers of links."""
    assert not isinstance(case.truncation, Blocks | Window | Last)
    links = None if isinstance(case.truncation, Full) else case.truncation.links(case.T).astype(case.dtype)
    x = streams(case.x)
    floats = {name: array for name, array in x.items() if array.dtype.kind in "fc"}
    whole = {name: array for name, array in x.items() if name not in floats}
    at = _At(floats, case.parameters, case.initial)
    copies = jax.tree.map(np.array, (at, _Beside(whole, case.lengths, case.resets, links)))
    return _Fixed(case.cell, case.chunk, case.reset_to), *copies


def _where(live: Any, new: Any, old: Any) -> Any:
    """``new`` in the rows that are ``live``, and ``old`` in the others."""
    return jnp.where(live.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _others(cell: Cell | CustomCell, name: str, stream: Any) -> Any:
    """Numbers that may stand in a stream, where rows have ended."""
    domain = cell.domain(name) if isinstance(cell, CustomCell) else None
    return jnp.asarray(any_of(domain, (1, *stream.shape[1:])), stream.dtype)


def _linked(state: Any, xi: Any) -> Any:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = lax.stop_gradient(state)
    return jnp.where(xi == 0, cut, cut + xi * (state - cut))


def _to_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
