"""Any recurrent function in JAX as a subject, judged against its own forward pass; no adapter to write."""

from collections.abc import Callable
from typing import Any

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.contract import Capabilities, CustomCell, refuse_resets
from bpttcheck.custom_cell import Shapes
from bpttref import Cell, Links, Regular


class JaxFunction(JaxSubject):
    """``function(parameters, x, states) -> (y, states)``, with x ``(T, B, D)``, a mapping of parameters, and one of
    states ``(B, ..)``.

    function: run under jax.jit unless jit is False. name: of the cell, that of the function if empty.
    parameters: from (D, H) to the shape of each parameter. states: from H to the shape of each state of one row.
    width: from H to the number of outputs a step.
    forward_mode: False where a ``jax.custom_vjp`` leaves no ``jax.jvp``. declared: what else goes into its
    `Capabilities`. Truncated, it is run step by step, and the states handed on.
    """

    def __init__(
        self,
        function: Callable[[Any, Any, Any], tuple[Any, Any]],
        *,
        parameters: Callable[[int, int], Shapes],
        states: Callable[[int], Shapes] = lambda H: {"h": (H,)},
        width: Callable[[int], int] = lambda H: H,
        name: str = "",
        jit: bool = True,
        forward_mode: bool = True,
        **declared: Any,
    ) -> None:
        super().__init__(jit=jit)
        if not forward_mode:
            self.jvp = None  # type: ignore[method-assign, assignment]
        self.name = name or getattr(function, "__name__", "function")
        refuse_resets(self.name, declared.get("inputs", ()))
        self._function = function
        usual = {"truncations": (Regular, Links), "sizes": self.sizes}
        self._declared = Capabilities(cells=(CustomCell(self.name, parameters, states, width),), **(usual | declared))

    def capabilities(self) -> Capabilities:
        return self._declared

    def unroll(self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any) -> tuple[Any, Any]:
        y, final = self._function(parameters[0][0], x, initial[0][0])
        return y, ((final,),)
