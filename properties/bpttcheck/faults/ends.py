"""The ends of a sequence: initial and final states, cotangents that are absent, no steps at all."""

from functools import partial

import numpy as np

from bpttcheck.contract import Case, Cotangents, Gradients, Outputs, Pullback
from bpttcheck.faults.planting import PULLBACK, Fault, Pulled, with_outputs
from bpttref import GRU, LSTM, RNN, trees


def last_output_only(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    dy = cotangents.y
    if dy is not None and len(dy):
        dy = np.concatenate([0 * dy[:-1], dy[-1:]])
    return pullback(Cotangents(dy, cotangents.final))


def initial_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    return gradients._replace(initial=trees.scale(gradients.initial, 0))


def final_dropped(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    return pullback(Cotangents(cotangents.y))


def forgotten_without_steps(case: Case, outputs: Outputs) -> Outputs:
    """Final states of a sequence without steps are zeros."""
    return outputs if case.T else outputs._replace(final=trees.scale(outputs.final, 0))


def lost_without_steps(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    """The loop's variables keep the values of step 0: without steps the cotangents of final states are lost."""
    gradients = pullback(cotangents)
    return gradients if case.T else gradients._replace(initial=trees.scale(gradients.initial, 0))


def drop_final_c(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    final = cotangents.final and tuple(tuple({"h": leaf["h"]} for leaf in layer) for layer in cotangents.final)
    return pullback(Cotangents(cotangents.y, final))


def absent_is_garbage(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    width = sum(p["W_hh"].shape[-1] for p in case.parameters[-1])
    garbage = np.ones((*case.x.shape[:2], width), case.dtype)
    return pullback(Cotangents(garbage if cotangents.y is None else cotangents.y, cotangents.final))


def unexpanded(case: Case, pullback: Pullback, cotangents: Cotangents) -> Gradients:
    gradients = pullback(cotangents)
    assert gradients.initial is not None
    initial = tuple(tuple({k: a.sum(axis=0) for k, a in leaf.items()} for leaf in layer) for layer in gradients.initial)
    return gradients._replace(initial=initial)


FAULTS = tuple(
    Fault(*row)
    for row in (
        (
            "dcT-ignored",
            "The cotangent of the final cell state is not added.",
            "https://github.com/deeplearning4j/deeplearning4j/issues/8838",
            (*PULLBACK, "split-resume-pullback"),
            (LSTM(),),
            Pulled(drop_final_c),
        ),
        (
            "only-hx-used",
            "An absent cotangent of y is read as garbage instead of zero.",
            "https://github.com/chainer/chainer/issues/2505",
            ("linear-in-cotangents",),
            (LSTM(),),
            Pulled(absent_is_garbage),
        ),
        (
            "dh0-shape-of-unexpanded",
            "dh0 comes without its batch axis.",
            "https://github.com/JuliaGPU/CuArrays.jl/pull/706",
            ("gradients-complete",),
            (RNN("tanh"),),
            Pulled(unexpanded),
        ),
        (
            "two-forward-calls",
            "The gradient that should reach the call before is dropped: dh0 = 0.",
            "https://github.com/synsense/sinabs-exodus/issues/3",
            (*PULLBACK, "split-resume-pullback"),
            (RNN("tanh"),),
            Pulled(initial_dropped),
        ),
        (
            "omitted-cotangent",
            "The cotangents of final states are ignored.",
            "https://github.com/chainer/chainer/pull/7896",
            (*PULLBACK, "split-resume-pullback"),
            (RNN("tanh"),),
            Pulled(final_dropped),
        ),
        (
            "flux-collect-vs-scalar",
            "Only the last output's cotangent is used.",
            "https://github.com/FluxML/Flux.jl/issues/2185",
            (*PULLBACK, "split-resume-pullback", "tied-gradient-is-sum"),
            (RNN("tanh"),),
            Pulled(last_output_only),
        ),
        (
            "zero-length",
            "Without steps the cotangents of final states are lost.",
            "https://github.com/jax-ml/jax/issues/17966",
            ("empty-sequence",),
            (LSTM(),),
            Pulled(lost_without_steps),
        ),
        (
            "empty-forgets-initial",
            "Without steps the final states are zeros instead of the initial ones.",
            "https://github.com/onnx/onnx/issues/1674",
            ("empty-sequence",),
            (GRU("after"),),
            partial(with_outputs, forgotten_without_steps),
        ),
    )
)
