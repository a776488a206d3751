"""How the name of a target becomes an implementation: built in, a path, an entry point, a fault, a program."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from bpttcheck.adapters import BUILT_IN
from bpttcheck.adapters.program import Program
from bpttcheck.contract import CustomCell, Implementation
from bpttcheck.faults import FAULTS, Faulty
from bpttcheck.measuring.calls import AdapterError, capabilities_of, message
from bpttcheck.misspelt import did_you_mean
from bpttcheck.printable import printable
from bpttref import Cell

# The library behind each: a process of its own for each, because Keras takes its backend once.
_KERAS_BACKENDS = {"keras-jax": "jax", "keras-torch": "torch"}

GROUP = "bpttcheck.implementations"  # of the entry points by which other libraries offer theirs

_FOLDERS: set[Path] = set()  # from which targets may import
_FILES: set[Path] = set()  # that are targets: no code imports them by name

_EXPECTED = "an implementation has name, capabilities, and vjp or loss_and_gradients"


class TargetError(Exception):
    """A target cannot be loaded; the message names a remedy."""


def installed() -> list[str]:
    """The built-in targets whose library is there. Those for a device are left out: they are tested when named."""
    needed = {
        name: (library, _KERAS_BACKENDS.get(name)) for name, (_, _, library) in BUILT_IN.items() if "-cuda" not in name
    }
    return [name for name, them in needed.items() if all(importlib.util.find_spec(one) for one in them if one)]


def offered() -> list[EntryPoint]:
    """The targets that installed libraries offer, by name."""
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def load(target: str, folder: Path = Path()) -> Implementation:
    """The implementation for a built-in name, ``package.module:object``, ``path/to/file.py:object``, ``fault:id`` or
    ``exec:command``, or for the name of an entry point, which built-in names hide.

    A class or a `functools.partial` is called without arguments. folder: where paths and commands start from. A file
    may import its neighbours, and modules are also found in ``folder``. Raises TargetError.
    """
    if target.startswith("fault:"):
        return _fault(target.removeprefix("fault:"))
    if target.startswith("exec:"):
        return _program(target, folder)
    with _in_words(target):
        found, _ = object_of(target, folder)
        subject = found() if isinstance(found, type | partial) else found
    if not callable(getattr(subject, "capabilities", None)):
        raise TargetError(f"{target} has no method capabilities; {_EXPECTED}")
    if not any(callable(getattr(subject, door, None)) for door in ("vjp", "loss_and_gradients")):
        raise TargetError(f"{target} has neither vjp nor loss_and_gradients; {_EXPECTED}")
    if not isinstance(getattr(subject, "name", None), str):
        raise TargetError(f"{target} has no name; {_EXPECTED}")
    implementation: Implementation = subject
    try:
        capabilities_of(implementation, target)
    except AdapterError as error:
        raise TargetError(str(error)) from error
    return implementation


def object_of(target: str, folder: Path = Path()) -> tuple[Any, Mapping[str, Any]]:
    """The object that a name stands for, as `load` takes it, and the names of its module. Raises TargetError."""
    if target in BUILT_IN:
        module, name, _ = BUILT_IN[target]
    else:
        place = _place(target)
        module, colon, name = place.rpartition(":")
        if not colon:
            if place.endswith(".py"):
                raise TargetError(f"{place} needs the name of an object in it: {place}:MyRNN")
            others = "package.module:object nor path/to/file.py:object nor exec:command"
            near = did_you_mean(place, [*BUILT_IN, *(entry.name for entry in offered())])
            raise TargetError(f"{place!r} is neither a name of `bpttcheck targets` nor {others}{near}")
    with _in_words(target):
        imported = importlib.import_module(module) if target in BUILT_IN else _import(module, folder)
        return getattr(imported, name), vars(imported)


@contextmanager
def _in_words(target: str) -> Iterator[None]:
    """Exceptions while a target is imported or made become a TargetError."""
    try:
        yield
    except (TargetError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if target in BUILT_IN and isinstance(error, ModuleNotFoundError):  # a library may need others: onnxruntime onnx
            raise TargetError(
                f"{target} needs {error.name}: python -m pip install 'bpttcheck[{BUILT_IN[target][2]}]'"
            ) from error
        raise TargetError(printable(f"{target} cannot be loaded: {type(error).__name__}: {message(error)}")) from error


def _place(target: str) -> str:
    """``module:object`` of an entry point; any other target as it is. Raises TargetError where several differ."""
    places = sorted({entry.value for entry in offered() if entry.name == target})
    if len(places) > 1:
        raise TargetError(f"{target} is offered by several libraries; name one of {', '.join(places)}")
    return places[0] if places else target


def _look_in(folder: Path) -> None:
    """Let modules be imported from a folder. Raises TargetError where one was imported that hides another there."""
    for name, module in list(sys.modules.items()):
        file = Path(getattr(module, "__file__", None) or "")
        if file.parent in _FOLDERS - {folder} and file not in _FILES and (folder / file.name).is_file():
            raise TargetError(f"{file} and {folder / file.name} are both called {name}: test them in two commands")
    if folder not in _FOLDERS:
        sys.path.insert(0, str(folder))
        _FOLDERS.add(folder)


def cell_named(subject: Implementation, name: str) -> Cell | CustomCell:
    """The cell of an implementation by its name. Raises TargetError."""
    cells = {cell.name: cell for cell in capabilities_of(subject).cells}
    if name not in cells:
        raise TargetError(
            f"{subject.name} has no cell {name!r}; there are {', '.join(cells)}{did_you_mean(name, cells)}"
        )
    return cells[name]


def _fault(fault_id: str) -> Implementation:
    """A planted fault as an implementation."""
    for fault in FAULTS:
        if fault.id == fault_id:
            return Faulty(fault)
    near = did_you_mean(fault_id, [fault.id for fault in FAULTS])
    raise TargetError(f"there is no fault {fault_id!r} in the list of `bpttcheck faults`{near}")


def _program(target: str, folder: Path) -> Implementation:
    """A program of any language as an implementation."""
    try:
        return Program(target.removeprefix("exec:"), folder)
    except (AdapterError, TypeError, ValueError) as error:
        raise TargetError(f"{target}: {error}") from error


def _import(module: str, folder: Path) -> ModuleType:
    if not module.endswith(".py"):
        _look_in(folder.resolve())
        return importlib.import_module(module)
    path = (folder / module).resolve()
    if not path.is_file():
        raise TargetError(f"there is no file {module}")
    _FILES.add(path)
    _look_in(path.parent)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, loaded)
    spec.loader.exec_module(loaded)
    return loaded
