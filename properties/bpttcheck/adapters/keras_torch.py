"""Keras's recurrent layers on PyTorch."""

from bpttcheck.adapters.keras_layers import KerasLayers
from bpttcheck.adapters.torch_subject import TorchSubject


class KerasTorch(KerasLayers, TorchSubject):
    """``keras.layers`` under ``torch.autograd``."""

    backend = "torch"
