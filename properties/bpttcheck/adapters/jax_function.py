"""Any recurrent function in JAX as an implementation, tested against its own forward pass; no adapter to write."""

from collections.abc import Callable
from typing import Any

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.adapters.own_function import OwnFunction, cell_of
from bpttcheck.contract import Capabilities, CustomCell
from bpttcheck.custom_cell import Shapes
from bpttref import Cell


class JaxFunction(JaxSubject):
    """``function(parameters, x, states) -> (y, states)``, with x ``(T, B, D)``, a mapping of parameters, and one of
    states ``(B, ..)``; of a cell with streams ``function(parameters, q=.., k=.., states=..)``.

    function: run under jax.jit unless jit is False. If its states have a default it is called without them, too. It
    gets ``lengths`` ``(B,)`` and ``resets`` ``(T, B)`` by name where these are among the inputs, or None where a case
    has none, and ``chunk``, a number, where chunks are declared and it has a parameter of that name.
    name: of the cell, that of the function if empty. parameters: from (D, H) to the shape of each parameter. states:
    from (D, H) or H to the shape of each state of one row, h of shape ``(H,)`` if left out. width: from (D, H) or H to
    the number of outputs a step, H if left out. cell: a `CustomCell` in place of these three, with streams and domains;
    if it has no parameters the function gets none.
    forward_mode: False where nobody is to ask for a ``jax.jvp``. declared: what else goes into its `Capabilities`.
    Truncated, it is run step by step, and the states handed on.

    Raises ValueError where the function does not take what is declared.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Any, Any]],
        *,
        parameters: Callable[[int, int], Shapes] | None = None,
        states: Callable[..., Shapes] | None = None,
        width: Callable[..., int] | None = None,
        cell: CustomCell | None = None,
        name: str = "",
        jit: bool = True,
        forward_mode: bool = True,
        **declared: Any,
    ) -> None:
        super().__init__(jit=jit)
        if not forward_mode:
            self.jvp = None  # type: ignore[method-assign, assignment]
        self.name = name or getattr(function, "__name__", "function")
        self._function = function
        own = cell_of(self.name, cell, parameters=parameters, states=states, width=width)
        self._has_parameters = own.parameters is not CustomCell.parameters
        given = {"sizes": self.sizes, **declared}
        self._call = OwnFunction(self.name, function, own, given, first=int(self._has_parameters))

    def capabilities(self) -> Capabilities:
        return self._call.declared

    def unroll(
        self, cell: Cell | CustomCell, parameters: Any, x: Any, initial: Any, lengths: Any, **beside: Any
    ) -> tuple[Any, Any]:
        first = (parameters[0][0],) if self._has_parameters else ()
        y, final = self._call(self._function, first, x, initial[0] and initial[0][0], lengths=lengths, **beside)
        return y, ((final,),)
