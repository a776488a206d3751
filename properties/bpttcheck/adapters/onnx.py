"""The ONNX reference evaluator: its operators RNN, LSTM and GRU in NumPy, forward only.

Conventions: see `onnx_graph`. The evaluator knows no Relu in RNN, and takes no sequence without steps. It is given
`sequence_lens` where rows differ, as any runtime is.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from bpttcheck.adapters.onnx_graph import CONVENTIONS, OnnxSubject
from bpttcheck.contract import Capabilities
from bpttref import GRU, LSTM, RNN
from bpttref.arrays import Array


class OnnxReference(OnnxSubject):
    """``onnx.reference.ReferenceEvaluator``, anew for each case."""

    name = f"onnx {onnx.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("identity"), LSTM(), GRU("after"), GRU("before")),
            dtypes=("float16", "float32", "float64"),
            layers=3,
            bidirectional=True,
            inputs=("dense", "initial", "lengths"),
            gradients=(),
            refuses=lambda case: "the evaluator takes no sequence without steps" if len(case.x) == 0 else None,
            conventions=CONVENTIONS | {"layout": "0, time first, or 1", "activations": "Relu is refused"},
        )

    def run(self, model: ModelProto, feeds: Mapping[str, Array]) -> Sequence[Array]:
        with np.errstate(over="ignore"):  # in 1 / (1 + exp(-x)), which gives the correct limit
            outputs: Sequence[Array] = ReferenceEvaluator(model).run(None, dict(feeds))
        return outputs
