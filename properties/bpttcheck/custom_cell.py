"""A cell that `bpttref` does not know: shapes, domains of its numbers, and its intended differences."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import Any, Literal, TypeAlias

import numpy as np

from bpttref.arrays import Array

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Domain: TypeAlias = (
    Literal["positive", "negative", "(0, 1)", "unit norm"]
    | type[bool]
    | type[complex]
    | range
    | Callable[[Array], Array]
)
"""Where the numbers of an array may lie.

"unit norm": of each vector along the last axis. ``range(n)``, bool: whole numbers, flags; they have no gradient.
complex: your function gets and returns complex arrays of the declared shape; the loss changes by the real part of the
sum of conj(g) dz, if g is the gradient, as in PyTorch, and cotangents are of that kind (JAX has their conjugates).
Elsewhere they are pairs of numbers along one more axis. A function maps any numbers ``(.., *shape)`` to allowed ones,
and leaves allowed ones as they are: ``np.tanh`` does not, ``lambda a: np.clip(a, -1, 1)`` does.
"""

_NAMED = ("positive", "negative", "(0, 1)", "unit norm")
RESERVED = ("x", "y", "loss", "W_qh", "b_q")


def _nothing(D: int, H: int) -> Shapes:
    return {}


@dataclass(frozen=True)
class CustomCell:
    """A cell that bpttcheck does not know. It is tested against its own forward pass.

    Names of parameters, states and streams differ, have no dot, and are not x, y, loss, W_qh or b_q.

    Parameters
    ----------
    name : str
        The name for ``--cell``.
    parameters : callable
        From (D, H) to the shape of each parameter; none, if left out.
    states : callable
        From (D, H), or from H, to the shape of each state of one row.
    width : callable
        From (D, H), or from H, to the features of y in one direction.
    streams : callable, optional
        From (D, H) to the shape of each input at each step of one row: ``{"q": (4, D), "beta": (4,)}``; ``case.x`` is
        then a mapping of arrays ``(T, B, *shape)``, and so is ``Gradients.x``. Without it there is one input, x, of
        shape ``(D,)``.
    domains : mapping of str to Domain
        Where the numbers of a stream, state or parameter may lie, see ``bpttcheck.custom_cell.Domain``; anywhere, if
        left out.
    without_cotangent : collection of str
        States that are handed on but not differentiated, such as a stabiliser: their cotangents are zero, and their
        gradients are not compared.
    surrogate : collection of str
        Streams, states and parameters whose gradients differ on purpose from the derivatives of the forward pass, and
        states whose cotangents do: behind a spike, a straight-through estimator, a clipped gradient, or a stabiliser
        that is treated as constant. They are not compared with differences.
    affine : mapping of str to collection of str
        By the name of a state, the outputs ("y", and final states by name) that are affine in its initial value while
        all other inputs stay: ``{"S": ("S", "y")}`` of linear attention. A mixture of two values must be a value, so
        the domain of the state is convex; a domain that is a function is called with each mixture.
    smooth : bool
        Whether the outputs are smooth functions of all differentiated arrays, surrogates aside: no ReLU, maximum or
        norm of a vector that may be 0.
    saturates : collection of str
        Streams, parameters and states that may be as large as 1e4 (each with its sign, in its domain), because they
        enter units that saturate: outputs and gradients are then finite.

    Raises
    ------
    ValueError
        With a sentence, if a declaration makes no sense.

    Examples
    --------
    >>> cell = CustomCell(
    ...     "leaky",
    ...     states=lambda H: {"v": (H,)},
    ...     parameters=lambda D, H: {"decay": (H,)},
    ...     domains={"decay": "(0, 1)"},
    ... )
    >>> cell.shapes(2, 3)["states"]
    {'v': (3,)}
    """

    name: str
    parameters: Callable[[int, int], Shapes] = _nothing
    states: Callable[..., Shapes] = _nothing
    width: Callable[..., int] = lambda H: H
    streams: Callable[[int, int], Shapes] | None = None
    domains: Mapping[str, Domain] = field(default_factory=dict, hash=False)
    without_cotangent: Collection[str] = field(default=(), hash=False)
    surrogate: Collection[str] = field(default=(), hash=False)
    affine: Mapping[str, Collection[str]] = field(default_factory=dict, hash=False)
    smooth: bool = False
    saturates: Collection[str] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        check_domains(self.domains)
        for what in ("without_cotangent", "surrogate", "saturates"):
            if isinstance(getattr(self, what), str):
                raise ValueError(f"{what} must be a collection of names; it is {getattr(self, what)!r}")
        if not isinstance(self.affine, Mapping):
            raise ValueError(f"affine must map states to the outputs that are affine in them; it is {self.affine!r}")
        for name, moved in self.affine.items():
            if isinstance(moved, str) or not moved:
                raise ValueError(f"affine must name outputs for {name}, such as ({name!r}, 'y'); there is {moved!r}")
            if self.domains.get(name) == "unit norm":
                raise ValueError(f"affine names {name}, whose domain 'unit norm' holds nothing between two vectors")
        for name in self.saturates:
            if self.domains.get(name) in ("(0, 1)", "unit norm") or whole(self.domains.get(name)):
                raise ValueError(f"saturates names {name}, whose domain {self.domains[name]} holds no large numbers")

    def shapes(self, D: int, H: int) -> dict[str, Shapes]:
        """The shapes of "parameters", "states" and "streams"; complex arrays have an axis of two at the end.

        Raises ValueError if the names make no sense.
        """
        found = {
            "parameters": self.parameters(D, H),
            "states": of_sizes(self.states, D, H),
            "streams": self.streams(D, H) if self.streams else {},
        }
        names = [name for shapes in found.values() for name in shapes]
        for name in names:
            if "." in name or name in RESERVED:
                raise ValueError(
                    f"a parameter, state or stream must not be called {name!r}: no dots, and not {', '.join(RESERVED)}"
                )
        if self.streams and not found["streams"]:
            raise ValueError(f"{self.name} declares streams, but there is none")
        for what in ("domains", "without_cotangent", "surrogate", "affine", "saturates"):
            for name in getattr(self, what):
                if name not in names and not (name == "x" and not self.streams):
                    raise ValueError(f"{what} of {self.name} names {name!r}, which is no parameter, state or stream")
                if names.count(name) > 1:
                    raise ValueError(f"{what} of {self.name} names {name!r}, and there are two of that name")
        for name, domain in self.domains.items():
            if whole(domain) and name not in found["streams"]:
                raise ValueError(f"{name} of {self.name} holds whole numbers or flags, which only a stream may hold")
        for what, of_states in (("without_cotangent", self.without_cotangent), ("affine", self.affine)):
            for name in of_states:
                if name not in found["states"]:
                    raise ValueError(f"{what} of {self.name} names {name!r}, which is no state")
        for name in {moved for outputs in self.affine.values() for moved in outputs} - {"y", *found["states"]}:
            raise ValueError(f"affine of {self.name} names {name!r}, which is neither y nor a state")
        return {
            kind: {n: (*shape, 2) if self.domain(n) is complex else tuple(shape) for n, shape in shapes.items()}
            for kind, shapes in found.items()
        }

    def outputs(self, D: int, H: int) -> int:
        """How many features y has in one direction."""
        width: int = of_sizes(self.width, D, H)
        return width

    def domain(self, name: str) -> Domain | None:
        """Where the numbers of an array may lie, by its name in a case: "x.q", "initial.S", "decay"."""
        return self.domains.get(name.rpartition(".")[2])


def check_domains(domains: Mapping[str, Domain]) -> None:
    """Raises ValueError, with a sentence, where one is none."""
    for name, domain in domains.items():
        known = domain in (bool, complex) or isinstance(domain, range) or callable(domain)
        if not known and not (isinstance(domain, str) and domain in _NAMED):
            said = ", ".join(map(repr, _NAMED))
            raise ValueError(
                f"the domain of {name} must be {said}, a range, bool, complex or a function; it is {domain!r}"
            )
        if isinstance(domain, range) and not domain:
            raise ValueError(f"the domain of {name} is empty: {domain!r}")


def whole(domain: Domain | None) -> bool:
    """Whether an array of a domain holds whole numbers or flags."""
    return domain is bool or isinstance(domain, range)


def inside(domain: Domain | None, array: Array) -> Array:
    """The array, with numbers outside the domain moved into it; the others stay as they are."""
    if domain is None or domain is complex or whole(domain):
        return array
    if domain in ("positive", "negative"):
        size = np.where(array == 0, 1, np.abs(array))
        return size if domain == "positive" else -size
    if domain == "(0, 1)":
        part = np.where((array > 0) & (array < 1), array, array % 1)
        return np.where(part == 0, 0.5, part)
    if domain == "unit norm":
        norm = np.sqrt(np.sum(np.square(array, dtype=np.float64), axis=-1, keepdims=True))
        return array / np.where(norm == 0, 1, norm)
    assert callable(domain)
    found = np.asarray(domain(array))
    if found.shape != array.shape or not np.all(np.isfinite(found)):
        raise ValueError(
            f"a domain turned numbers of shape {array.shape} into {found.shape}, or into numbers that are not finite"
        )
    return found.astype(array.dtype)


def any_of(domain: Domain | None, shape: tuple[int, ...]) -> Array:
    """Numbers of a domain, for places that have no effect."""
    return np.full(shape, domain.start) if isinstance(domain, range) else inside(domain, np.ones(shape))


def drawn(
    domain: Domain | None, normal: Array, rng: np.random.Generator, *, rounded: bool = False, nearer: float = 1.0
) -> Array:
    """Numbers of a domain from normal ones; where the normal ones are ``rounded`` to multiples of 1/4, the others are
    rounded, too, if the domain allows it.

    nearer: the factor of the distance to 0 of numbers with a sign, and to 1 of numbers in (0, 1): with a small factor a
    state decays slowly. Raises ValueError where a function is no projection.
    """
    if whole(domain):
        return rng.integers(0, 2, normal.shape) > 0 if domain is bool else rng.choice(domain, normal.shape)  # type: ignore[arg-type]
    if domain in ("positive", "negative") and not rounded:
        return inside(domain, nearer * np.exp(normal / 2))
    if domain == "(0, 1)":
        quarters = (4 * np.abs(normal) - 1) % 3 + 1
        part: Array = quarters / 4 if rounded else 1 / 16 + 7 / 8 / (1 + np.exp(-1.5 * normal))
        return 1 - nearer * (1 - part)
    found = inside(domain, normal)
    if (
        callable(domain)
        and domain is not complex
        and not np.allclose(inside(domain, found), found, rtol=1e-6, atol=1e-9)
    ):
        raise ValueError("a domain that is a function must leave numbers that are in it as they are")
    return found


def room(domain: Domain | None, array: Array) -> Array | float:
    """How far each number may be moved for sure within its domain; none where it cannot."""
    if domain in ("positive", "negative"):
        size: Array = np.abs(array)
        return size
    if domain == "(0, 1)":
        distance: Array = np.minimum(array, 1 - array)
        return distance
    return 0.0 if whole(domain) else np.inf


def of_sizes(function: Callable[..., Any], D: int, H: int) -> Any:
    """The result of a function that takes D and H, or only H."""
    needed = [
        p
        for p in signature(function).parameters.values()
        if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) and p.default is Parameter.empty
    ]
    return function(D, H) if len(needed) > 1 else function(H)
