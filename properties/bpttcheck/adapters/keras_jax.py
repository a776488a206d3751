"""Keras's recurrent layers on JAX."""

from dataclasses import replace

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.adapters.keras_layers import KerasLayers
from bpttcheck.contract import Capabilities, Case
from bpttref import RNN, Full


class KerasJax(KerasLayers, JaxSubject):
    """``keras.layers`` under ``jax.vjp`` and ``jax.jvp``."""

    backend = "jax"

    def capabilities(self) -> Capabilities:
        return replace(super().capabilities(), sizes=self.sizes)

    def refusal(self, case: Case) -> str | None:
        masked = case.lengths is not None and case.truncation == Full()  # where it is truncated, single steps are run
        if isinstance(case.cell, RNN) and case.dtype == "float64" and not masked:
            return "SimpleRNN in float64 raises TypeError unless it is masked"
        return super().refusal(case)
