"""PyTorch's recurrent layers: nn.RNN (tanh, relu), nn.LSTM, nn.GRU; stacked, bidirectional, packed sequences.

Conventions: weights (G*H, D) with gates i, f, g, o and r, z, n, two biases, the GRU's reset gate after the recurrent
product. An LSTM with ``proj_size`` is tested, too, against its own forward pass: its h, and so its y, is the product of
weight_hr (P, H) and the h of an LSTM without it, with P half of H here.
"""

import warnings
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bpttcheck.adapters.torch_subject import ModuleSubject
from bpttcheck.contract import Capabilities, Case, CustomCell, Gradients, Outputs
from bpttcheck.custom_cell import Shapes
from bpttcheck.measuring.calls import Refused
from bpttref import GRU, LSTM, RNN, Cell, Links, Regular

NAMES = {"W_hx": "weight_ih", "W_hh": "weight_hh", "b_hx": "bias_ih", "b_hh": "bias_hh"}


def _projected(H: int) -> int:
    """P of an LSTM that projects; nn.LSTM takes only a P below H."""
    return max(1, H // 2)


def _projected_parameters(D: int, H: int) -> Shapes:
    P = _projected(H)
    return {
        "weight_ih": (4 * H, D),
        "weight_hh": (4 * H, P),
        "bias_ih": (4 * H,),
        "bias_hh": (4 * H,),
        "weight_hr": (P, H),
    }


PROJECTED = CustomCell(
    "lstm-projected", _projected_parameters, lambda H: {"h": (_projected(H),), "c": (H,)}, width=_projected
)


class TorchLayers(ModuleSubject):
    """``torch.nn``'s layers. batch_first: whether x and y are ``(B, T, ..)`` for the layer. tf32: whether products of
    matrices in float32 may be in TF32."""

    def __init__(
        self,
        device: str = "cpu",
        batch_first: bool = False,
        dtypes: tuple[str, ...] = ("float32", "float64"),
        tf32: bool = False,
    ) -> None:
        super().__init__(device, tf32=tf32)
        self.batch_first, self._dtypes, self._tf32 = batch_first, dtypes, tf32
        options = "-batch-first" * batch_first + f"-{device}" * (device != "cpu")
        options += "-16-bits" * ("float32" not in dtypes) + "-tf32" * tf32
        self.name = f"torch{options} {torch.__version__}"

    def capabilities(self) -> Capabilities:
        return Capabilities(
            cells=(RNN("tanh"), RNN("relu"), LSTM(), GRU("after"), PROJECTED),
            dtypes=self._dtypes,
            layers=2,
            bidirectional=True,
            inputs=("dense", "initial", "lengths"),
            truncations=(Regular, Links),
            objectives=("cross-entropy", "squared-error", "linear"),
            padding="anything",
            selects=True,
            refuses=_refusal,
            inside={"float32": "tf32"} if self._tf32 else {},
            conventions={
                "reset gate": "after the recurrent product",
                "biases": "two",
                "float32": f"TF32 is switched {'on' if self._tf32 else 'off'}",
                "forward mode": "without oneDNN",
            },
        )

    def jvp(self, case: Case, tangents: Gradients) -> Outputs:
        if case.lengths is not None:
            raise Refused("torch.nn.utils.rnn.pack_padded_sequence has no forward mode")
        return super().jvp(case, tangents)

    def module(self, case: Case) -> nn.Module:
        own = case.parameters[0][0]
        D, H = case.x.shape[2], own["W_hh"].shape[1] if "W_hh" in own else len(own["weight_hh"]) // 4
        options: dict[str, Any] = {
            "num_layers": len(case.parameters),
            "bidirectional": len(case.parameters[0]) == 2,
            "batch_first": self.batch_first,
            "dtype": getattr(torch, case.dtype),
            "device": self.device,
        }
        if isinstance(case.cell, RNN):
            return nn.RNN(D, H, nonlinearity=case.cell.activation, **options)
        if isinstance(case.cell, GRU):
            return nn.GRU(D, H, **options)
        return nn.LSTM(D, H, proj_size=_projected(H) if isinstance(case.cell, CustomCell) else 0, **options)

    def parameters(self, module: nn.Module, case: Case) -> Any:
        return tuple(
            tuple(
                {name: getattr(module, f"{NAMES.get(name, name)}_l{k}" + "_reverse" * d) for name in p}
                for d, p in enumerate(directions)
            )
            for k, directions in enumerate(case.parameters)
        )

    def unroll(self, cell: Cell | CustomCell, module: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        T = len(x)
        names = ("h", "c") if isinstance(module, nn.LSTM) else ("h",)
        before = [torch.stack([leaf[name] for layer in initial for leaf in layer]) for name in names if initial]
        piece: Any = x.transpose(0, 1).contiguous() if self.batch_first else x
        if lengths is not None:
            piece = pack_padded_sequence(piece, lengths, self.batch_first, enforce_sorted=False)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN", UserWarning)
            given = (tuple(before) if len(before) > 1 else before[0],) if before else ()
            y, after = module(piece, *given)
        if lengths is not None:
            y, _ = pad_packed_sequence(y, self.batch_first, total_length=T)
        stacked = dict(zip(names, after if isinstance(after, tuple) else (after,), strict=True))
        width = 2 if module.bidirectional else 1
        final = tuple(
            tuple({name: state[k * width + d] for name, state in stacked.items()} for d in range(width))
            for k in range(module.num_layers)
        )
        return y.transpose(0, 1) if self.batch_first else y, final


TorchBatchFirst = partial(TorchLayers, batch_first=True)
TorchIn16Bits = partial(TorchLayers, dtypes=("bfloat16", "float16"))
TorchOnCuda = partial(TorchLayers, device="cuda")
TorchInTf32 = partial(TorchLayers, device="cuda", dtypes=("float32",), tf32=True)


def _refusal(case: Case) -> str | None:
    if len(case.x) == 0:
        return "torch.nn takes no sequence without steps"
    if isinstance(case.cell, CustomCell) and case.parameters[0][0]["weight_hr"].size == 1:
        return "nn.LSTM projects to fewer units than it has, and so none that has one"
    return None
