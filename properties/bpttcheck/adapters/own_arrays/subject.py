"""A user's run over a sequence, and its pullback, as an implementation of a cell of its own."""

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter, signature
from typing import Any

import numpy as np

from bpttcheck.adapters.own_arrays.arguments import Arguments, Arrays
from bpttcheck.adapters.own_arrays.cell import sizes_of
from bpttcheck.adapters.own_arrays.finding import Answer, Found, answer
from bpttcheck.adapters.own_arrays.layout import Layout
from bpttcheck.adapters.own_arrays.names import allowed, by_name, gradients, leaves, rebuilt
from bpttcheck.adapters.own_arrays.translation import KINDS, arrays_of, gradients_of, turned
from bpttcheck.contract import Capabilities, Case, Cotangents, CustomCell, Gradients, Outputs, Pullback
from bpttref import Strategy
from bpttref.arrays import Array

_CHUNK = ("chunk", "chunk_size")


class OwnArrays:
    """``run(p, x, states) -> (y, final states, pullback)`` on a user's arrays.

    arguments, example: its arguments. found: its results. knobs: by keyword, the rule of truncation of
    which it takes the number of steps. lengths, resets: the keyword for each of these; empty if it takes none.
    declared: further fields of its `Capabilities`.
    """

    def __init__(
        self,
        cell: CustomCell,
        run: Callable[..., Any],
        arguments: Arguments,
        example: Arrays,
        found: Found,
        *,
        knobs: Mapping[str, type[Strategy]],
        lengths: str = "",
        resets: str = "",
        **declared: Any,
    ) -> None:
        self.name, self._absent = cell.name, found.returned.absent
        self._run, self._arguments, self._found = run, arguments, found
        self._example = example
        self._knobs, self._lengths, self._resets = knobs, lengths, resets
        self._chunk = next((word for word in _CHUNK if word in _keywords(run)), "")
        y = found.y
        inputs = {"dense": True, "initial": arguments.of_states, "lengths": lengths, "resets": resets}
        outputs = {"y": y, "final": found.final and (y is None or y.time is not None)}
        if resets and y is not None and y.time is None:
            raise ValueError("a function with resets must return an output for each step, not only for the last")
        usual: dict[str, Any] = {
            "dtypes": ("float64",),
            "inputs": tuple(kind for kind, there in inputs.items() if there),
            "outputs": tuple(kind for kind, there in outputs.items() if there),
            "gradients": tuple(kind for argument, kind in KINDS.items() if argument in found.returned.arguments),
            "truncations": tuple(dict.fromkeys(knobs.values())),
            "default_initial": "zeros" if _states_may_be_left_out(run) else "none",
        }
        usual["conventions"] = arguments.described() | ({} if y is None else {"y": str(y)})
        sizes = {"sizes": {**declared.pop("sizes", {}), **sizes_of(arguments, example, y)}}
        self._declared = Capabilities(cells=(found.returned.left_out(cell),), **(usual | declared | sizes))

    def capabilities(self) -> Capabilities:
        return self._declared

    def vjp(self, case: Case) -> tuple[Outputs, Pullback | None]:
        given = self._arguments.given(arrays_of(case, self._arguments, self._example))
        returned = answer(self._run(*given, **self._chosen(case)))
        outputs = self._outputs(case, returned)
        pull = returned.pullback
        if pull is None:
            return outputs, None

        def pullback(cotangents: Cotangents) -> Gradients:
            sorted_out = gradients(pull(*self._cotangents(case, returned, outputs, cotangents)), self._arguments.trees)
            return gradients_of(case, self._arguments, sorted_out, self._absent)

        return outputs, pullback

    def _chosen(self, case: Case) -> dict[str, Any]:
        """The keyword arguments: those parts of the case that not every case has."""
        found = turned(self._knobs, case)
        if self._lengths and case.lengths is not None:
            found[self._lengths] = case.lengths
        if self._resets and case.resets is not None:
            first = next(iter(self._arguments.x.values()))
            late = first.rows is not None and first.time is not None and first.rows < first.time
            flags = Layout("resets", int(late), None if first.rows is None else int(not late), ())
            found[self._resets] = flags.given(case.resets)
        if self._chunk and case.chunk is not None:
            found[self._chunk] = case.chunk
        return found

    def _outputs(self, case: Case, returned: Answer) -> Outputs:
        """Cotangents of only the last step are a sequence that is zero before the end of each row."""
        layout, y, final = self._found.y, None, dict[str, Array]()
        if self._found.final:
            given = dict(self._final(returned))
            final = {allowed(n): like.taken(given[n]) for n, like in self._arguments.of_states.items() if n in given}
        if layout is not None and layout.time is not None:
            y = layout.flat(layout.taken(returned.y, case.B))
        elif layout is not None:
            last = layout.taken(returned.y).reshape(case.B, -1)
            y = np.zeros((case.T, *last.shape), last.dtype)
            y[_ends(case)] = last
        return Outputs(y, ((final,),) if final else None)

    def _cotangents(self, case: Case, returned: Answer, outputs: Outputs, cotangents: Cotangents) -> list[Any]:
        """The arguments of the user's pullback: zeros where nothing is given."""
        layout, found = self._found.y, []
        like = {} if outputs.final is None else outputs.final[0][0]
        given = {n: np.zeros_like(a) for n, a in like.items()} if cotangents.final is None else cotangents.final[0][0]
        if layout is not None:
            assert outputs.y is not None
            dy = np.zeros_like(outputs.y) if cotangents.y is None else cotangents.y
            found.append(layout.given(dy if layout.time is not None else dy[_ends(case)]))
        if self._found.final:
            of_states = self._arguments.of_states
            ends = (of_states[name].given(given[allowed(name)]) for name, _ in self._final(returned))
            found.append(rebuilt(returned.final, ends))
        return found

    def _final(self, returned: Answer) -> Iterator[tuple[str, Any]]:
        """The final states by name, in the order in which they came."""
        return leaves(by_name(self._arguments.trees["state"], returned.final))


def _ends(case: Case) -> tuple[Array, Array]:
    """The last step of each row, and its row."""
    lengths = np.full(case.B, case.T) if case.lengths is None else case.lengths
    return lengths - 1, np.arange(case.B)


def _keywords(run: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return signature(run).parameters
    except (TypeError, ValueError):
        return {}


def _states_may_be_left_out(run: Callable[..., Any]) -> bool:
    """Whether the last argument of three has a default."""
    takes = [p for p in _keywords(run).values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(takes) > 2 and takes[2].default is not Parameter.empty
