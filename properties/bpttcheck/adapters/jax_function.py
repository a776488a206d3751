"""Any recurrent function in JAX as an implementation, tested against its own forward pass; no adapter to write."""

from collections.abc import Callable
from typing import Any

from bpttcheck.adapters.jax_subject import JaxSubject
from bpttcheck.adapters.own_function import OwnFunction, cell_of
from bpttcheck.contract import Capabilities, CustomCell
from bpttcheck.custom_cell import Shapes
from bpttref import Cell


class JaxFunction(JaxSubject):
    """Your own function in JAX as an implementation: ``function(parameters, x, states) -> (y, states)``.

    x is ``(T, B, D)``; parameters and states are mappings, of states ``(B, ...)``. A cell with streams calls
    ``function(parameters, q=.., k=.., states=..)``. Truncation runs it step by step, and hands on the states.

    Parameters
    ----------
    function : callable
        Run under jax.jit. If its states have a default it is also called without them. It gets ``lengths`` ``(B,)`` and
        ``resets`` ``(T, B)`` by name if these are among the inputs, or None if a case has none, and the number
        ``chunk`` if chunks are declared and it has a parameter of that name.
    parameters : callable, optional
        From (D, H) to the shape of each parameter.
    states : callable, optional
        From (D, H), or from H, to the shape of each state of one row; h of shape ``(H,)`` if left out.
    width : callable, optional
        From (D, H), or from H, to the number of outputs of a step; H if left out.
    cell : CustomCell, optional
        In place of these three, with streams and domains. If it has no parameters, the function gets none.
    name : str
        The name of the cell; the function's name if empty.
    jit : bool
        Whether to use jax.jit.
    forward_mode : bool
        Whether ``jax.jvp`` works.
    **declared
        Other fields of `Capabilities`.

    Raises
    ------
    ValueError
        If the function does not take what is declared.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> def decay(parameters, x, states):
    ...     h, y = states["h"], []
    ...     for x_t in x:
    ...         h = h * parameters["rate"] + x_t
    ...         y.append(h)
    ...     return jnp.stack(y), {"h": h}
    >>> sizes = {"D": (3,), "H": (3,)}
    >>> JaxFunction(decay, parameters=lambda D, H: {"rate": (H,)}, sizes=sizes).name
    'decay'
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
