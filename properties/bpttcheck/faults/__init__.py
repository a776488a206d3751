"""Planted faults: the smallest changes to the reference that repeat bugs which were really shipped.

Each is an implementation of its own, so that ``bpttcheck verify fault:dW-overwrite`` shows the verdict on an
implementation with that bug. A file holds one class of mistakes, with its table. The tests hold every fault to the laws
that must catch it.
"""

from bpttcheck.faults import (
    accumulating,
    activations,
    boundaries,
    calling,
    carrying,
    derivatives,
    ends,
    equations,
    incomplete,
    layout,
    links,
    loop,
    masking,
    overflowing,
    padding,
    remembering,
    resetting,
    rules,
    scoring,
)
from bpttcheck.faults.equations import gate_orders
from bpttcheck.faults.planting import Fault, Faulty

_FILES = (
    derivatives,
    activations,
    carrying,
    loop,
    accumulating,
    equations,
    incomplete,
    ends,
    overflowing,
    padding,
    layout,
    remembering,
    rules,
    boundaries,
    resetting,
    links,
    scoring,
    masking,
    calling,
)

_ORDER = """
    rnn-no-carry Whh-no-transpose clip-in-time-loop dWh-uses-h_t dW-overwrite two-bias-double-step bias-twice-fwd
    di-uses-i sigmoid-prime-missing z-vs-1-minus-z lstm-next-never-assigned dc-carry-zeroed-op update-inside-backward
    sigmoid-overflow mask-of-step-0 forget-gate-skipped tanh-c-prime-missing gates-swapped candidate-prime-of-sigmoid
    reset-gate-skipped direct-path-skipped reset-outside-product tanh-prime-without-square tanh-prime-of-state-before
    activation-prime-missing clip-far-out reset-before-vs-after wrong-delta-output-gate dW-without-h0 dcT-ignored
    only-hx-used dh0-shape-of-unexpanded final-grad-at-padded-slot f64-upcast flip-batch-axis reverse-not-flipped-back
    flux-tau1 flux-collect-vs-scalar direction-grad-not-added reverse-dx-not-flipped-back two-forward-calls
    backward-empty omitted-cotangent backprop-too-much divide-by-wrong-axis divided-by-steps until-grad-aligned-to-end
    mask-value-in-backward seq-len-backward last-state-at-T uninitialised-padding pad-reversed-into-front zero-length
    empty-forgets-initial view-instead-of-transpose batch-first-transpose-missing squeeze-all bias-offset-upper-layer
    second-bias-zero layer-input-is-output-ptr gru-bias-copied non-contiguous-dy f32-buffer-in-f64 times-steps
    gates-in-another-order negated times-rows masked-by-multiplication stops-after-16-steps tail-of-vector-skipped
    dy-overwritten-by-dx reset-ineffective stale-packed-weights dropped-weight-written-back two-gradients-differ
    cache-key-incomplete bias-grad-accumulates output-buffer-reused tail-chunk-dropped noop-if-T-lt-k setting-ignored
    state-not-carried only-last-loss-travels bp-lim-bounds cells-or-transitions window-reaches-initial
    window-from-the-end window-for-segments
    segments-for-window k2-from-the-loss early-losses-count reweight-once no-reweight p-instead-of-1/p reweight-twice
    unseeded-pattern cut-with-probability-pi not-detached layer-not-detached segments-one-longer cuts-one-early
    parameters-not-truncated-regular parameters-not-truncated-window parameters-not-truncated-blocks
    parameters-not-truncated-last parameters-not-truncated-links gradient-of-detached-state tau-one-means-none
    hidden-state-not-detached
    links-drawn-together rho-set-by-eval loss-not-over-T norm-by-full-length zero-grad-inside tbptt-state-leak
    bias-never-learns target-subtracted-twice chunks-kept-alive loss-off-by-a-constant loss-over-B
    optimiser-steps-inside loop-parameters-not-truncated pushforward-without-h0
    no-parameters-when-truncated no-initial-when-truncated float64-when-truncated no-parameters-without-steps
    layer-too-many loss-alone-when-truncated forgets-after-32-steps columns-after-8-zero
    truncation-ignored-with-lengths parameters-not-truncated-random cut-behind-the-end own-links-weighted-by-pi
    longest-row-taken-for-T tape-freed-for-all arguments-kept-as-buffers padding-counts mean-over-padding
    row-mean-over-padding gradient-not-masked initial-left-out-means-ones shared-state-overwritten
    shared-state-gradient-summed bias-zero-skips-gradient tape-freed-too-early outputs-alone-left-behind
    zero-state-unless-wanted not-carried-unless-dx-wanted nan-from-step-5 nan-of-one-step left-out-in-single-precision
    sigmoid-prime-of-value tanh-prime-of-value gate-primes-of-values sigmoid-prime-overflows tanh-of-one-exponential
    loop-runs-forward first-step-dropped first-dx-dropped divided-by-steps-and-rows previous-wraps-round
    c-before-wraps-round previous-is-own-at-0 dx-in-backward-order rows-take-row-0
    reset-a-step-late reset-a-step-early resets-of-row-0 resets-ignored gradient-crosses-resets
    gradient-reset-a-step-early gradient-cut-at-chunks
""".split()  # in which faults are listed and tried; a new one is added where it belongs

_BY_ID = {fault.id: fault for file in _FILES for fault in file.FAULTS}

FAULTS: tuple[Fault, ...] = tuple(_BY_ID[name] for name in _ORDER)

CLASSES = {file.__name__.rpartition(".")[2]: [fault.id for fault in file.FAULTS] for file in _FILES}
"""The ids of the faults of each file."""

__all__ = ["CLASSES", "FAULTS", "Fault", "Faulty", "gate_orders"]
