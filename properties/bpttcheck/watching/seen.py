"""The result of `watch`: the words, the triangle, the picture, and the expectations of a test."""

from os import PathLike
from pathlib import Path

from bpttcheck.watching.chunks import Row, rounds_of, rows_of
from bpttcheck.watching.expected import agrees, expected_reach, seen_reach
from bpttcheck.watching.picture import draw
from bpttcheck.watching.record import Record, Trace
from bpttcheck.watching.triangle import triangle
from bpttcheck.watching.words import is_, many, sentences
from bpttref import Regular, Strategy


class Seen:
    """The record of a training loop that `watch` makes. ``print(seen)`` describes it in words.

    Parameters
    ----------
    record : Record
        The calls, and the norms themselves.

    Examples
    --------
    See `watch`.
    """

    def __init__(self, record: Record) -> None:
        self.record = record

    def __str__(self) -> str:
        if not self.record.traces:
            return "\n".join(["No recurrent module was called.", *self._notes()])
        return "\n\n".join("\n".join(self._about(some)) for some in self._alike()) + "".join(
            f"\n\n{note}" for note in self._notes()
        )

    def png(self, file: str | PathLike[str], module: str | None = None) -> None:
        """Draw the triangles of all modules into a file.

        Parameters
        ----------
        file : str or PathLike
            Its ending is the format: .png, .svg, .pdf.
        module : str, optional
            The name of the only one that is drawn, large enough for a slide.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If the module was not seen, or no call of backward.
        """
        traces = self.record.traces if module is None else [self._named(module)]
        shown = [(trace, rows_of(self.record, trace)) for trace in traces]
        draw(Path(file), [(trace, rows) for trace, rows in shown if rows], large=module is not None)

    def shows(self, strategy: Strategy, module: str | None = None) -> bool:
        """Whether each call of backward reaches exactly the steps that a truncation lets through.

        Parameters
        ----------
        strategy : Strategy
            The truncation, such as ``Blocks(10, 20)``.
        module : str, optional
            The name of a module; needed if several were seen.

        Returns
        -------
        bool
            True if all calls agree.

        Raises
        ------
        ValueError
            If the state or a call of backward was not seen, or a sequence has thousands of steps.
        """
        trace, rounds = self._judged(module)
        return agrees(trace, rounds, strategy)

    def is_blocks(self, tau: int, module: str | None = None) -> bool:
        """Whether each call of backward reaches exactly the steps of its block.

        Parameters
        ----------
        tau : int
            Steps of a block.
        module : str, optional
            As in `shows`.

        Returns
        -------
        bool
            True if all calls agree.

        Raises
        ------
        ValueError
            If the state or a call of backward was not seen.
        """
        return self.shows(Regular(tau), module)

    def beside(self, strategy: Strategy, module: str | None = None) -> str:
        """Two triangles in text: the one that a truncation makes, and the one that was seen.

        Parameters
        ----------
        strategy : Strategy
            The truncation.
        module : str, optional
            As in `shows`.

        Returns
        -------
        str
            Several lines.

        Raises
        ------
        ValueError
            Where `shows` raises it.
        """
        trace, rounds = self._judged(module)
        both = {"expected": expected_reach(trace, rounds, strategy), "seen": seen_reach(trace, rounds)}
        return "\n\n".join(
            "\n".join([f"{title}:", *triangle(rounds, reach.cut, reach.reached)]) for title, reach in both.items()
        )

    def _named(self, module: str | None) -> Trace:
        """The module of this name, or the only one. Raises ValueError, with the known names."""
        found = [trace for trace in self.record.traces if module in (None, trace.name)]
        if len(found) != 1:
            names = ", ".join(trace.name for trace in self.record.traces) or "none"
            which = f"no module {module!r} was seen" if module else "say which module"
            raise ValueError(f"{which}: those that were seen are {names}")
        return found[0]

    def _judged(self, module: str | None) -> tuple[Trace, list[Row]]:
        """A module, and its calls of backward. Raises ValueError without calls to test."""
        trace = self._named(module)
        rows = rows_of(self.record, trace)
        if not rows:
            raise ValueError(f"no call of backward was seen that reaches {trace.name}")
        if not trace.sees_state:
            raise ValueError(f"the state of {trace.name} was not seen, so it is unknown where it is cut")
        return trace, rounds_of(rows)

    def _alike(self) -> list[list[Trace]]:
        """Groups of modules with the same findings."""
        groups: dict[tuple[object, ...], list[Trace]] = {}
        for trace in self.record.traces:
            said = tuple(sentences(self.record, trace))
            groups.setdefault((said, trace.kind, trace.steps, len(trace.calls)), []).append(trace)
        return list(groups.values())

    def _about(self, traces: list[Trace]) -> list[str]:
        trace, rows = traces[0], rows_of(self.record, traces[0])
        names = ", ".join(one.name for one in traces)
        names += "" if names == trace.kind else f" ({trace.kind})"
        steps, calls = many(trace.steps, "step"), many(len(trace.calls), "forward call")
        size = f"{steps} in {calls}, {many(len(rows), 'call')} of backward"
        lines = [f"{names}: {size}", *(f"  {said}" for said in sentences(self.record, trace))]
        return [*lines, "", *(f"  {line}" for line in triangle(rows, seen_reach(trace, rows).cut))] if rows else lines

    def _notes(self) -> list[str]:
        """Remarks about the watch as a whole."""
        record, notes = self.record, []
        for reason, count in record.left_out.items():
            notes.append(f"{many(count, 'forward call')} {_LEFT_OUT[reason]}, and {is_(count)} not counted.")
        if record.made_to_need:
            names = ", ".join(sorted(record.made_to_need))
            notes.append(f"The input of {names} needs no gradient; it was made to need one while watched.")
        if record.unprobed:
            notes.append(f"The outputs of {', '.join(sorted(record.unprobed))} ran compiled, and were not probed.")
        if record.probed:
            was = "was" if len(record.probed) == 1 else "were"
            notes.append(
                f"{many(len(record.probed), 'gradient')} of single outputs {was} taken in the first calls of backward. "
                "Each took up to the time of a training step."
            )
        if record.limit is not None and len(record.backwards) >= record.limit:
            notes.append(f"The watch ended after {many(record.limit, 'call')} of backward.")
        return notes


_LEFT_OUT = {
    "no gradient": "ran without gradients",
    "recomputed": "ran inside a backward, which recomputes them (checkpointing)",
    "transformed": "ran inside a transformation of torch.func, which cannot be watched",
}


def assert_reach(seen: Seen, strategy: Strategy, module: str | None = None) -> None:
    """Fail a test if calls of backward do not reach exactly the steps that a truncation lets through.

    Parameters
    ----------
    seen : Seen
        The record that `watch` made.
    strategy : Strategy
        The truncation, such as ``Regular(35)``, ``Blocks(10, 20)`` or ``Full()``. Steps count from the last start of a
        sequence.
    module : str, optional
        The name of a module; needed if several were seen.

    Raises
    ------
    AssertionError
        With both triangles, if they differ.
    ValueError
        If the state or a call of backward was not seen.

    Examples
    --------
    See `watch`.
    """
    __tracebackhide__ = True
    if not seen.shows(strategy, module):
        raise AssertionError(f"this is not {strategy}\n\n{seen.beside(strategy, module)}\n\n{seen}")
