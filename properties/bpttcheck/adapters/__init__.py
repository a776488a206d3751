"""Adapters that come with bpttcheck: one small file for each library, imported only when it is needed.

`bpttcheck.targets` turns their names into implementations.
"""

from typing import Any

BUILT_IN = {
    "reference": ("bpttcheck.adapters.reference", "Reference", None),
    "torch": ("bpttcheck.adapters.torch", "TorchLayers", "torch"),
    "torch-batch-first": ("bpttcheck.adapters.torch", "TorchBatchFirst", "torch"),
    "torch-cells": ("bpttcheck.adapters.torch_cells", "TorchCells", "torch"),
    "torch-16-bits": ("bpttcheck.adapters.torch", "TorchIn16Bits", "torch"),
    "torch-cuda": ("bpttcheck.adapters.torch", "TorchOnCuda", "torch"),
    "torch-cuda-tf32": ("bpttcheck.adapters.torch", "TorchInTf32", "torch"),
    "equinox": ("bpttcheck.adapters.equinox", "EquinoxCells", "equinox"),
    "flax-linen": ("bpttcheck.adapters.flax_linen", "FlaxLinen", "flax"),
    "flax-nnx": ("bpttcheck.adapters.flax_nnx", "FlaxNnx", "flax"),
    "haiku": ("bpttcheck.adapters.haiku", "HaikuCores", "haiku"),
    "autograd": ("bpttcheck.adapters.autograd", "Autograd", "autograd"),
    "mygrad": ("bpttcheck.adapters.mygrad", "MyGrad", "mygrad"),
    "onnx": ("bpttcheck.adapters.onnx", "OnnxReference", "onnx"),
    "onnxruntime": ("bpttcheck.adapters.onnxruntime", "OnnxRuntime", "onnxruntime"),
    "tinygrad": ("bpttcheck.adapters.tinygrad", "TinygradCells", "tinygrad"),
    "mlx": ("bpttcheck.adapters.mlx", "MlxLayers", "mlx"),
    "keras-jax": ("bpttcheck.adapters.keras_jax", "KerasJax", "keras"),
    "keras-torch": ("bpttcheck.adapters.keras_torch", "KerasTorch", "keras"),
}  # name: module, class, the library and extra that it needs


def __getattr__(name: str) -> Any:
    """``load`` stood here in version 0.1.0, and the replay files that it wrote import it from here."""
    if name == "load":
        from bpttcheck.targets import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
