"""ONNX Runtime on the CPU: its operators RNN, LSTM and GRU, forward only.

Conventions: see `onnx_graph`. The runtime has no kernels for float64, casts float16 to float32 and back, and
refuses `layout` 1. Final states of a row
without steps are zeros and not the initial ones, and a GRU without steps ends the process: rows have steps.
"""

from collections.abc import Mapping, Sequence

import onnxruntime
from onnx import ModelProto

from bpttcheck.adapters.onnx_graph import CONVENTIONS, OnnxSubject
from bpttcheck.contract import Capabilities
from bpttref import GRU, LSTM, RNN
from bpttref.arrays import Array


class OnnxRuntime(OnnxSubject):
    """``onnxruntime.InferenceSession`` with the CPU's kernels, anew for each case."""

    name = f"onnxruntime {onnxruntime.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("relu"), RNN("identity"), LSTM(), GRU("after"), GRU("before")),
            dtypes=("float16", "float32"),
            layers=3,
            bidirectional=True,
            inputs=("dense", "initial", "lengths"),
            gradients=(),
            padding="anything",
            refuses=lambda case: "ONNX Runtime ends the process for a GRU without steps" if len(case.x) == 0 else None,
            conventions=CONVENTIONS | {"layout": "0, time first; the runtime refuses 1"},
        )

    def run(self, model: ModelProto, feeds: Mapping[str, Array]) -> Sequence[Array]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        outputs: Sequence[Array] = session.run(None, feeds)
        return outputs
