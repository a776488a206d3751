"""Keras's recurrent layers on JAX."""

from dataclasses import replace

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.adapters.keras_layers import KerasLayers
from bpttcheck.contract import Capabilities


class KerasJax(KerasLayers, JaxSubject):
    """``keras.layers`` under ``jax.vjp`` and ``jax.jvp``."""

    backend = "jax"

    def capabilities(self) -> Capabilities:
        return replace(super().capabilities(), sizes=self.sizes)
