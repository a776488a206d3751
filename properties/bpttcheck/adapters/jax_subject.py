"""What the adapters of the JAX family share: a forward pass becomes a subject by ``jax.vjp`` and ``jax.jvp``.

An adapter gives ``unroll``, from parameters and states in the canonical layout. Whatever it does to bring them into the
library's layout is differentiated with the rest, so that gradients come back in the layout of the case.

Truncation is by ``stop_gradient``: the layer runs segment after segment of one step, and the carried state is scaled in
the backward pass alone, by the multiplier of the link. Cuts are data and not code: no truncation compiles anew.

JAX computes in float64 only if it is told so, for the whole process. Importing this module does it.
"""

from collections.abc import Collection, Mapping
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
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


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
        self._shapes = jax.jit(self._outputs, static_argnums=0).eval_shape  # traced once for each shape, never compiled

    def capabilities(self) -> Capabilities:
        raise NotImplementedError

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        """y and final states, nested and named as in `Outputs`, from traced arrays nested and named as in a `Case`."""
        raise NotImplementedError

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

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        pushed: Outputs = _to_numpy(self._push(case.cell, *_arrays(case), tangents))
        return pushed

    def _outputs_and_gradients(
        self, cell: Cell | CustomCell, at: Gradients, lengths: Any, links: Any, given: Outputs
    ) -> tuple[Any, Any]:
        outputs, pull = jax.vjp(lambda moved: self._outputs(cell, moved, lengths, links), at)
        return outputs, pull(given)[0]

    def _tangents(self, cell: Cell | CustomCell, at: Gradients, lengths: Any, links: Any, tangents: Gradients) -> Any:
        return jax.jvp(lambda moved: self._outputs(cell, moved, lengths, links), (at,), (tangents,))[1]

    def _outputs(self, cell: Cell | CustomCell, at: Gradients, lengths: Any, links: Any) -> Outputs:
        if links is None:
            return Outputs(*self.unroll(cell, at.parameters, at.x, at.initial, lengths))

        def step(state: Any, x_and_link: tuple[Any, Any]) -> tuple[Any, Any]:
            x, xi = x_and_link
            state = jax.tree.map(lambda s: _linked(s, xi), state)
            y, state = self.unroll(cell, at.parameters, x[None], state, None)
            return state, y[0]

        final, y = lax.scan(step, at.initial, (at.x, links))
        return Outputs(y, final)


def _arrays(case: Case) -> tuple[Gradients, Any, Any]:
    """Copies of what is differentiated by, the lengths, and the multipliers of the links; None where there are none."""
    assert not isinstance(case.truncation, Blocks | Window | Last)
    full = isinstance(case.truncation, Full)
    links = None if full else case.truncation.links(len(case.x)).astype(case.dtype)
    at, lengths = jax.tree.map(jnp.array, (Gradients(case.x, case.parameters, case.initial), case.lengths))
    return at, lengths, links


def _linked(state: Any, xi: Any) -> Any:
    """A state as it is, whose cotangent is multiplied by ``xi`` on its way back; cut where that is 0."""
    cut = lax.stop_gradient(state)
    return jnp.where(xi == 0, cut, cut + xi * (state - cut))


def _to_numpy(tree: Any) -> Any:
    return jax.tree.map(np.asarray, tree)
