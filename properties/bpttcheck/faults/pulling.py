"""Faults of the pullback and of the outputs that need no other equations: what is dropped, doubled or misplaced."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import Vjp, correct
from bpttref import Regular, trees
from bpttref.arrays import Array


def with_outputs(change: Callable[[Case, Outputs], Outputs]) -> Callable[[], Vjp]:
    """The reference with its outputs changed and its pullback left alone."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)
        return change(case, outputs), pullback

    return lambda: faulty


def with_case(change: Callable[[Case], Case]) -> Callable[[], Vjp]:
    """The reference on a changed case."""
    return lambda: lambda case: correct(change(case))


def _behind(case: Case) -> Array | None:
    return None if case.lengths is None else np.arange(len(case.x))[:, None] >= case.lengths


def _parameters(gradients: Gradients, change: Callable[[int, int, str, Array], Array]) -> Gradients:
    """Gradients of the parameters changed by ``change(layer, direction, name, gradient)``."""
    return gradients._replace(
        parameters=tuple(
            tuple({n: change(k, d, n, a) for n, a in p.items()} for d, p in enumerate(layer))
            for k, layer in enumerate(gradients.parameters or ())
        )
    )


def states_are_constants(case: Case) -> Case:
    return replace(case, truncation=Regular(1)) if len(case.parameters[0]) == 1 else case


def last_output_only(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    dy = cotangents.y
    if dy is not None and len(dy):
        dy = np.concatenate([0 * dy[:-1], dy[-1:]])
    return pullback(Cotangents(dy, cotangents.final))


def second_direction_not_added(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx lacks what comes through the reverse direction."""
    gradients = pullback(cotangents)
    if len(case.parameters[0]) == 1 or len(case.parameters) > 1 or cotangents.y is None:
        return gradients
    return gradients._replace(x=pullback(_halves(cotangents)[0]).x)


def reverse_share_not_flipped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The reverse direction's share of dx is left in the order of its loop."""
    gradients = pullback(cotangents)
    if len(case.parameters[0]) == 1 or len(case.parameters) > 1 or cotangents.y is None:
        return gradients
    forward, reverse = (pullback(half).x for half in _halves(cotangents))
    return gradients._replace(x=None if forward is None or reverse is None else forward + reverse[::-1])


def _halves(cotangents: Cotangents) -> tuple[Cotangents, Cotangents]:
    """The cotangents of the forward and of the reverse direction of one layer."""
    assert cotangents.y is not None
    first = np.arange(cotangents.y.shape[-1]) < cotangents.y.shape[-1] // 2
    final: Any = cotangents.final

    def keep(direction: int) -> Any:
        return final and tuple(
            tuple({k: a if d == direction else 0 * a for k, a in leaf.items()} for d, leaf in enumerate(layer))
            for layer in final
        )

    return Cotangents(cotangents.y * first, keep(0)), Cotangents(cotangents.y * ~first, keep(1))


def nothing_written(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return Gradients(*(None if part is None else trees.scale(part, 0) for part in pullback(cotangents)))


def initial_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(initial=trees.scale(gradients.initial, 0))


def final_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return pullback(Cotangents(cotangents.y))


def run_twice(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 2))


def divided_by_rows(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 1 / max(1, case.x.shape[1])))


def divided_by_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, 1 / max(1, len(case.x))))


def times_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(parameters=trees.scale(gradients.parameters, len(case.x)))


def gates_in_another_order() -> Vjp:
    """The first two gates are exchanged, as between two libraries' conventions, forward and backward."""

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        H = case.parameters[0][0]["W_hh"].shape[-1]

        def exchanged(k: int, d: int, name: str, array: Array) -> Array:
            return np.concatenate([array[H : 2 * H], array[:H], array[2 * H :]])

        other = _parameters(Gradients(None, case.parameters, None), exchanged).parameters
        assert other is not None
        outputs, pullback = correct(replace(case, parameters=other))
        return outputs, lambda cotangents: _parameters(pullback(cotangents), exchanged)

    return faulty


def aligned_to_the_end(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The gradients of a short row are written to the last steps instead of the first."""
    gradients = pullback(cotangents)
    if case.lengths is None or gradients.x is None:
        return gradients
    rows = [np.roll(gradients.x[:, b], len(case.x) - n, axis=0) for b, n in enumerate(case.lengths)]
    return gradients._replace(x=np.stack(rows, axis=1))


def fill_value_in_padding(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients, behind = pullback(cotangents), _behind(case)
    if behind is None or gradients.x is None:
        return gradients
    return gradients._replace(x=np.where(behind[:, :, None], 1, gradients.x).astype(gradients.x.dtype))


def lengths_forgotten(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return correct(replace(case, lengths=None))[1](cotangents) if case.lengths is not None else pullback(cotangents)


def rows_for_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dx is read from a buffer (B, T, D) as if it were (T, B, D)."""
    gradients = pullback(cotangents)
    if gradients.x is None:
        return gradients
    return gradients._replace(x=gradients.x.swapaxes(0, 1).reshape(gradients.x.shape))


def upper_biases_zero(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return _parameters(pullback(cotangents), lambda k, d, n, a: 0 * a if k and n.startswith("b_") else a)


def second_bias_zero(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return _parameters(pullback(cotangents), lambda k, d, n, a: 0 * a if n == "b_hh" else a)


def upper_layer_reads_its_output(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """dW_hx of upper layers pairs the adjoints with the layer's own states."""
    gradients = pullback(cotangents)
    if gradients.parameters is None or len(case.parameters[0]) > 1:
        return gradients
    found = [dict(layer[0]) for layer in gradients.parameters]
    for p in found[1:]:
        p["W_hx"] = p["W_hh"].copy()
    return gradients._replace(parameters=tuple((p,) for p in found))


def recurrent_bias_copied(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """db_hh of the GRU is copied from db_hx, without the reset gate."""
    gradients = pullback(cotangents)
    if gradients.parameters is None:
        return gradients
    copied = tuple(
        tuple({**p, "b_hh": p["b_hx"].copy()} if "b_hh" in p else p for p in layer) for layer in gradients.parameters
    )
    return gradients._replace(parameters=copied)


def read_as_contiguous(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The cotangent's memory is read in order, whatever its strides say."""
    dy = cotangents.y
    if dy is not None and not dy.flags.c_contiguous:
        dy = dy.ravel(order="K").reshape(dy.shape)
    return pullback(Cotangents(dy, cotangents.final))


def biases_accumulate() -> Vjp:
    """The buffer of the biases' gradients is added to and never cleared."""
    before: dict[Any, Array] = {}

    def faulty(case: Case) -> tuple[Outputs, Pullback]:
        outputs, pullback = correct(case)

        def accumulating(cotangents: Cotangents) -> Gradients:
            def add(k: int, d: int, name: str, gradient: Array) -> Array:
                key = (k, d, name, gradient.shape, case.dtype)
                if name.startswith("b_"):
                    gradient = before[key] = before.get(key, 0 * gradient) + gradient
                return gradient

            return _parameters(pullback(cotangents), add)

        return outputs, accumulating

    return faulty


def state_at_the_end(case: Case, outputs: Outputs) -> Outputs:
    """Final states are those at T, not those at each row's length."""
    return outputs._replace(final=correct(replace(case, lengths=None))[0].final)


def garbage_in_padding(case: Case, outputs: Outputs) -> Outputs:
    behind = _behind(case)
    if behind is None or outputs.y is None:
        return outputs
    return outputs._replace(y=np.where(behind[:, :, None], 7, outputs.y).astype(outputs.y.dtype))


def padding_comes_first(case: Case, outputs: Outputs) -> Outputs:
    """The reverse direction flips the padded array, and so starts with the padding."""
    if case.lengths is None or len(case.parameters[0]) == 1 or len(case.parameters) > 1 or outputs.y is None:
        return outputs
    half, padded = outputs.y.shape[-1] // 2, correct(replace(case, lengths=None))[0].y
    assert padded is not None
    return outputs._replace(y=np.concatenate([outputs.y[..., :half], padded[..., half:]], axis=-1))


def axes_squeezed(case: Case, outputs: Outputs) -> Outputs:
    return outputs._replace(y=None if outputs.y is None else outputs.y.squeeze())


def through_float32(case: Case, outputs: Outputs) -> Outputs:
    y = outputs.y
    return outputs._replace(y=None if y is None else y.astype(np.float32).astype(y.dtype))


def viewed_not_transposed(case: Case) -> Case:
    """A batch-major array is viewed as time-major."""
    return replace(case, x=case.x.swapaxes(0, 1).reshape(case.x.shape))


def lost_without_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The loop's variables are those of step 0: without steps the cotangents of final states are lost."""
    gradients = pullback(cotangents)
    return gradients if len(case.x) else gradients._replace(initial=trees.scale(gradients.initial, 0))
