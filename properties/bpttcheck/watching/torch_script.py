"""A script that trains, run as it is and watched."""

import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

from torch import nn

from bpttcheck.watching.record import Record
from bpttcheck.watching.seen import Seen
from bpttcheck.watching.torch_errors import explain
from bpttcheck.watching.torch_hooks import Hooks
from bpttcheck.watching.torch_steps import RECURRENT, Layout, layout_of


class Enough(BaseException):
    """Ends a script; no ``except Exception`` of it stops that."""


class _Recurrent:
    """Finds the recurrent modules of ``torch.nn``, by the name that they have in the outermost module called."""

    def __init__(self) -> None:
        self._names: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()

    def __call__(self, module: nn.Module) -> tuple[str, Layout] | None:
        if module not in self._names:
            for name, part in module.named_modules():
                self._names.setdefault(part, name or type(part).__name__)
        return (self._names[module], layout_of(module)) if isinstance(module, RECURRENT) else None


def watch_script(script: Path, arguments: Sequence[str], calls: int) -> tuple[Seen, str]:
    """Run a script until this number of calls of backward has ended, or to its end.

    Returns the observations, and how the script failed; empty if it did not.
    """
    record, failed = Record(limit=calls), ""
    hooks = Hooks(record, _Recurrent(), _enough)
    hooks.start()
    try:
        with _as_main(script, arguments):
            runpy.run_path(str(script), run_name="__main__")
    except Enough:
        pass
    except SystemExit as end:
        failed = f"{script} ended with exit status {end.code}" if end.code not in (None, 0) else ""
    except Exception as error:
        hooks.stop()
        if isinstance(error, RuntimeError):
            explain(error, record)
        failed = _told(script, error)
    finally:
        hooks.stop()
    return Seen(record), failed


def _enough() -> None:
    raise Enough


@contextmanager
def _as_main(script: Path, arguments: Sequence[str]) -> Iterator[None]:
    """As ``python script arguments`` finds it."""
    argv, path = sys.argv, sys.path[:]
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    try:
        yield
    finally:
        sys.argv, sys.path[:] = argv, path


def _told(script: Path, error: Exception) -> str:
    """An error in a sentence, with the last line of the script that it passed, and with its notes."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve() == script.resolve()
    ]
    where = f" at line {lines[-1]}" if lines else ""
    said = f"{script} failed{where}: {type(error).__name__}: {error}"
    return "\n".join([said, *getattr(error, "__notes__", [])])
