"""Where the steps of time and the state are in the calls of a recurrent module of PyTorch."""

from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any, Literal

from torch import Tensor, nn

TimeAxis = int | Literal["module"] | None


@dataclass(frozen=True)
class Layout:
    """time_axis: of the input; None where a call is one step. input, state: the parameters that take them; None where a
    module takes no state. parts: of the state. layers: whether states are ``(layers, B, H)``. whole: whether all
    outputs are state, and not only those behind the first. last: whether all gradients pass the last output, as they
    pass c where h is computed from it."""

    time_axis: int | None
    input: str
    state: str | None
    parts: tuple[str, ...] = ("state",)
    layers: bool = False
    whole: bool = False
    last: bool = False

    def axis(self, name: str, x: Tensor) -> int | None:
        """The axis of time; ``torch.nn`` puts it first where there is no batch. Raises ValueError if an input has
        none."""
        if self.time_axis is None:
            return None
        if not (self.layers or -x.ndim <= self.time_axis < x.ndim):
            raise ValueError(f"the input of {name}, {tuple(x.shape)}, has no axis {self.time_axis} of time")
        return 0 if self.layers and x.ndim == 2 else self.time_axis % x.ndim

    def returned(self, output: Any) -> Any:
        """The state in the output of a call."""
        return output if self.whole or not isinstance(output, tuple) else output[1:]


def layout_of(module: nn.Module, time_axis: TimeAxis = "module") -> Layout:
    """How a module is called. Raises ValueError where the axis of time is unknown."""
    parts = ("h", "c") if isinstance(module, nn.LSTM | nn.LSTMCell) else ("h",)
    if isinstance(module, nn.RNNBase):
        return Layout(1 if module.batch_first else 0, "input", "hx", parts, layers=True)
    if isinstance(module, nn.RNNCellBase):
        return Layout(None, "input", "hx", parts, whole=True, last=len(parts) > 1)
    if time_axis == "module":
        raise ValueError(
            f"{type(module).__name__} does not say where time is: give time_axis=0 or 1, the axis of time of its "
            "input, or time_axis=None if a call is one step"
        )
    takes = [p for p in signature(module.forward).parameters.values() if p.kind in _POSITIONAL]
    if not takes:
        raise ValueError(f"{type(module).__name__}.forward takes no input by position: there is nothing to watch")
    return Layout(time_axis, takes[0].name, takes[1].name if len(takes) > 1 else None, whole=time_axis is None)


_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)
