"""The requirements that a study or an X-ray has for an implementation."""

from collections.abc import Collection

from bpttcheck.contract import Implementation, TwoPhase
from bpttcheck.measuring.calls import capabilities_of
from bpttref import Full, Strategy

_NAMES = {"dense": "dense inputs", "initial": "the initial states", "final": "the final states"}


def require(
    subject: Implementation,
    purpose: str,
    *,
    inputs: Collection[str],
    outputs: Collection[str],
    gradients: Collection[str],
    truncation: type[Strategy] = Full,
) -> None:
    """Raise ValueError, with a sentence, unless an implementation has a vjp in float64 that can be pulled back
    repeatedly and declares the listed names, as in `Capabilities`. ``purpose``: of the caller, for the sentence."""
    declared = capabilities_of(subject)
    lacks = {
        "has no vjp": not isinstance(subject, TwoPhase),
        **{
            f"is declared not to return the gradient of {_NAMES.get(g, g)}": g not in declared.gradients
            for g in gradients
        },
        **{f"is declared not to return {_NAMES.get(o, o)}": o not in declared.outputs for o in outputs},
        **{f"is declared not to take {_NAMES.get(i, i)}": i not in declared.inputs for i in inputs},
        "is declared not to pull back twice": not declared.reusable,
        "does not declare float64": "float64" not in declared.dtypes,
        f"does not declare {truncation.__name__.lower()} truncation": truncation not in (Full, *declared.truncations),
    }
    for lack, missing in lacks.items():
        if missing:
            raise ValueError(f"{subject.name} cannot {purpose}: it {lack}")
