"""What the adapters of the JAX family share: a forward pass becomes a subject by ``jax.vjp`` and ``jax.jvp``.

An adapter gives ``unroll``, of one layer, from parameters and states in the canonical layout. Whatever it does to bring
them into the library's layout is differentiated with the rest, so that gradients come back in the layout of the case.
Layers are stacked here.

Truncation is by ``stop_gradient``: the layer runs segment after segment of one step, and the carried state is scaled in
the backward pass alone, by the multiplier of the link. Cuts are data and not code: no truncation compiles anew.

An objective is differentiated in a program of its own, whose cotangent goes to that of the network: there are many
objectives, and compiling the network with each of them would take several times as long.

JAX computes in float64 only if it is told so, for the whole process. Importing this module does it.
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import Blocks, Cell, Full, Last, Window

jax.config.update("jax_enable_x64", True)

# Each new shape is compiled: they are few, with a sequence that splits into others and a row on its own. Those that are
# there several times are drawn as much more often.
SIZES = {"T": (1, 2, 2, 2, 8, 8), "B": (1, 5, 5, 5), "D": (3,), "H": (4,)}
# Compiled in a third of the time.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


class JaxSubject:
    """Base of an adapter.

    jit: whether what is differentiated is compiled as a whole. options: of XLA; its own defaults are ``{}``.
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
        """y and final states, nested and named as in `Outputs`, from traced arrays nested and named as in a `Case`, of
        which there is one layer: ``parameters[0]`` and ``initial[0]``, with one direction or two."""
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
        """For `Capabilities`: a stack takes twice as long to compile as a layer, and is not put in single rows, too."""
        if len(case.parameters) > 1 and case.x.shape[1] < max(self.sizes.get("B", (0,))):
            return "stacks are compiled for the largest batch alone"
        return None

    def vjp(self, case: Case) -> tuple[Outputs, Pullback]:
        """Outputs come from the program that gives the gradients, too: one to compile instead of two."""
        arguments = case.cell, *_arrays(case)
        zeros: Outputs = jax.tree.map(lambda like: np.zeros(like.shape, like.dtype), self._shapes(*arguments))
        outputs: Outputs = _to_numpy(self._pull(*arguments, zeros)[0])

        def pullback(cotangents: Cotangents) -> Gradients:
            dy, final = cotangents
            given = Outputs(zeros.y if dy is None else dy, zeros.final if final is None else final)
            gradients: Gradients = _to_numpy(self._pull(*arguments, given)[1])
            return gradients

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
        pushed: Outputs = _to_numpy(self._push(case.cell, *_arrays(case), tangents))
        return pushed

    def _outputs_and_gradients(
        self, cell: Cell | CustomCell, at: Gradients, lengths: Any, links: Any, given: Outputs
    ) -> tuple[Any, Any]:
        outputs, pull = jax.vjp(lambda moved: self._outputs(cell, moved, lengths, links), at)
        return outputs, pull(given)[0]

    def _loss_and_cotangents(self, kind: str, y: Any, readout: Any, targets: Any, weights: Any) -> Any:
        return jax.value_and_grad(partial(self.loss, kind), (0, 1))(y, readout, targets, weights)

    def _tangents(self, cell: Cell | CustomCell, at: Gradients, lengths: Any, links: Any, tangents: Gradients) -> Any:
        return jax.jvp(lambda moved: self._outputs(cell, moved, lengths, links), (at,), (tangents,))[1]

    def _outputs(self, cell: Cell | CustomCell, at: Gradients, lengths: Any, links: Any) -> Outputs:
        if links is None:
            return Outputs(*self._stack(cell, at.parameters, at.x, at.initial, lengths))

        x: Any = at.x
        T, B = x.shape[:2]
        left = T if lengths is None else lengths
        live = jnp.broadcast_to(jnp.arange(T)[:, None] < left, (T, B))[..., None]

        def step(state: Any, inputs: tuple[Any, Any, Any]) -> tuple[Any, Any]:
            x, xi, live = inputs
            before = jax.tree.map(lambda s: _linked(s, xi), state)
            y, after = self._stack(cell, at.parameters, jnp.where(live, x, 0)[None], before, None)
            state = jax.tree.map(lambda new, old: jnp.where(live, new, old), after, state)
            return state, jnp.where(live, y[0], 0)

        final, y = lax.scan(step, at.initial, (x, links, live))
        return Outputs(y, final)

    def _stack(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        """The outputs of a layer are the inputs of the next one."""
        y, final = x, []
        for layer, states in zip(parameters, initial, strict=True):
            y, (ends,) = self.unroll(cell, (layer,), y, (states,), lengths)
            final.append(ends)
        return y, tuple(final)


def _arrays(case: Case) -> tuple[Gradients, Any, Any]:
    """Copies of what is differentiated by, the lengths, and the multipliers of the links; None where there are none."""
    assert not isinstance(case.truncation, Blocks | Window | Last)
    full = isinstance(case.truncation, Full)
    links = None if full else case.truncation.links(len(case.x)).astype(case.dtype)
    at, lengths = jax.tree.map(np.array, (Gradients(case.x, case.parameters, case.initial), case.lengths))
    return at, lengths, links


def _linked(state: Any, xi: Any) -> Any:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = lax.stop_gradient(state)
    return jnp.where(xi == 0, cut, cut + xi * (state - cut))


def _to_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
