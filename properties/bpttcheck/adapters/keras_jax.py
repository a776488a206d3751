"""Keras's recurrent layers on JAX."""

from dataclasses import replace

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.adapters.keras_layers import KerasLayers
from bpttcheck.contract import Capabilities, Case
from bpttref import RNN


class KerasJax(KerasLayers, JaxSubject):
    """``keras.layers`` under ``jax.vjp`` and ``jax.jvp``."""

    backend = "jax"

    def capabilities(self) -> Capabilities:
        return replace(super().capabilities(), sizes=self.sizes)

    def refusal(self, case: Case) -> str | None:
        if isinstance(case.cell, RNN) and case.dtype == "float64" and case.lengths is None:
            return "SimpleRNN in float64 raises TypeError unless it is masked"
        return super().refusal(case)
