"""The only place that calls an implementation: laws, diagnosis, X-rays, studies, replay and loading go through it.

An implementation gets arrays of its own. An exception that it raises becomes an `AdapterError`, its warnings are noted,
the folder in which it leaves the process is left again, and its results have the types of the contract.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bpttcheck.cases.blocks import named
from bpttcheck.cases.changes import copied, with_arrays
from bpttcheck.cases.facts import facts
from bpttcheck.contract import Capabilities, Case, Cotangents, Gradients, Implementation, Outputs, Pullback
from bpttcheck.dtypes import FORMATS
from bpttcheck.measuring.complex_numbers import case_given, given, returned
from bpttcheck.measuring.doing import calling
from bpttcheck.measuring.handing import Handed, handed, received
from bpttcheck.printable import printable
from bpttref import trees
from bpttref.arrays import Array
from bpttref.network import States

_Result = TypeVar("_Result", Outputs, Gradients)


class AdapterError(Exception):
    """The implementation itself raised, or its adapter reports a mistake in it."""


class Refused(Exception):
    """The implementation declares that it does not take a case; the message says why."""


class Pulling(NamedTuple):
    """A pullback that an implementation returned for a case; only `Calls.pull` calls it."""

    pullback: Pullback
    case: Case


def capabilities_of(subject: Implementation, name: str = "") -> Capabilities:
    """The declarations of an implementation. Raises AdapterError, which calls it ``name``, or by its own name."""
    name = name or subject.name
    try:
        with calling("capabilities"):
            declared = subject.capabilities()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        said = printable(f"capabilities of {name} raised {type(error).__name__}: {message(error)}")
        raise AdapterError(said) from error
    if not isinstance(declared, Capabilities):
        raise AdapterError(f"capabilities of {name} are a {type(declared).__name__}; expected bpttcheck.Capabilities")
    return declared


class Calls:
    """Calls of one implementation. warnings: its warnings so far; the reporting code clears the set.

    Each method raises AdapterError if the implementation raises or returns objects that the contract does not allow,
    and Refused if it declares that it does not take the case. ``copy``: whether it gets arrays of its own, as it should
    unless the caller wants to see whether it changes them.
    """

    def __init__(self, subject: Implementation, capabilities: Capabilities | None = None) -> None:
        """capabilities: the declarations that it is tested by, its own by default."""
        self.subject: Any = subject  # with the interfaces that the caller needs
        self.capabilities = capabilities_of(subject) if capabilities is None else capabilities
        self.warnings: set[str] = set()

    def declines(self, case: Case) -> str | None:
        """Why the implementation is not called with this case; None if it is."""
        if not (self.capabilities.sizes or self.capabilities.refuses):
            return None
        with self._watched("refuses", case):
            return self.capabilities.refusal(case_given(case))

    def started(self, case: Case) -> States | None:
        """The states that it declares as its start where a case has none; None if it needs them from the case."""
        default = self.capabilities.default_initial
        if default == "none" or case.initial is None:
            return None
        with self._watched("default_initial", case):
            if isinstance(default, Mapping):
                states = _learned(default, case)
            else:
                states = trees.each(np.zeros_like, case.initial) if default == "zeros" else default(case_given(case))
                states = returned(case, Outputs(None, states)).final
            found: States = trees.each(lambda array: array.astype(FORMATS[case.dtype].storage), states)
        return found

    def run(self, case: Case, *, copy: bool = True) -> tuple[Outputs, Pulling | None]:
        """The outputs of ``vjp``, and its pullback for `pull`. Raises Violation if y should have only the last step,
        and has not."""
        answer = self._called("vjp", self.subject.vjp, case, copy)
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Outputs)):
            raise AdapterError(f"vjp returned {_kind(answer)}; expected a tuple of Outputs and a pullback")
        outputs, pullback = answer
        outputs = received(self.capabilities, case, returned(case, _of_arrays(outputs)))
        return outputs, None if pullback is None else Pulling(pullback, case)

    def handed(self, case: Case, cotangents: Cotangents) -> Handed:
        """The arguments of the pullback for these cotangents."""
        return handed(self.capabilities, case, cotangents)

    def pull(self, pulling: Pulling | None, cotangents: Cotangents | Handed) -> Gradients:
        """The gradients of a pullback that `run` returned. `Handed` cotangents are passed on without a copy."""
        if pulling is None:
            raise AdapterError("vjp returned no pullback, but the capabilities do not say gradients=()")
        with self._watched("the pullback", pulling.case):
            if isinstance(cotangents, Cotangents):
                cotangents = self.handed(pulling.case, copied(cotangents))
            gradients = pulling.pullback(given(pulling.case, cotangents.cotangents))
        if not isinstance(gradients, Gradients):
            raise AdapterError(f"the pullback returned {type(gradients).__name__}; expected Gradients")
        found = returned(pulling.case, _of_arrays(gradients))
        return found if cotangents.factor == 1 else Gradients(*trees.scale(tuple(found), 1 / cotangents.factor))

    def score(self, case: Case, *, copy: bool = True) -> tuple[Outputs, Gradients]:
        """The result of ``loss_and_gradients``, with the loss."""
        answer = self._called("loss_and_gradients", self.subject.loss_and_gradients, case, copy)
        if not (isinstance(answer, tuple) and [type(part) for part in answer] == [Outputs, Gradients]):
            what = _kind(answer)
            raise AdapterError(f"loss_and_gradients returned {what}; expected a tuple of Outputs and Gradients")
        outputs, gradients = answer
        if outputs.loss is None:
            raise AdapterError("loss_and_gradients returned Outputs without the loss")
        return outputs, returned(case, _of_arrays(gradients))

    def push(self, case: Case, tangents: Gradients) -> Outputs:
        """The tangents of the outputs, by ``jvp``."""
        pushed = self._called("jvp", lambda at: self.subject.jvp(at, given(case, tangents)), case, True)
        if not isinstance(pushed, Outputs):
            raise AdapterError(f"jvp returned {type(pushed).__name__}; expected Outputs")
        return received(self.capabilities, case, returned(case, pushed))

    def _called(self, name: str, method: Callable[[Case], Any], case: Case, copy: bool) -> Any:
        if reason := self.declines(case):
            raise Refused(reason)
        with self._watched(name, case):
            return method(case_given(with_arrays(case, lambda _, array: array.copy()) if copy else case))

    @contextmanager
    def _watched(self, name: str, case: Case) -> Iterator[None]:
        folder = _folder()
        with warnings.catch_warnings(record=True) as caught, np.errstate(over="warn", divide="warn", invalid="warn"):
            warnings.simplefilter("always")
            try:
                with calling(name, (case.T, case.B)):
                    yield
            except (AdapterError, Refused, KeyboardInterrupt):  # says it already, or is the user's
                raise
            except BaseException as error:
                where = f" (with {'; '.join(facts(case))})" if facts(case) else ""
                said = printable(f"{name} raised {type(error).__name__}: {message(error)}")
                raise AdapterError(f"{said}{where}") from error
            finally:
                if _folder() != folder:
                    with suppress(OSError):
                        os.chdir(folder)
        self.warnings |= {printable(f"{w.category.__name__}: {w.message}") for w in caught}


def _learned(parameters: Mapping[str, str], case: Case) -> Any:
    """Initial states that are parameters, the same for all rows, and zeros where a state is none."""

    def states(own: Mapping[str, Array], like: Mapping[str, Array]) -> dict[str, Array]:
        return {
            name: np.repeat(own[parameters[name]][None], len(a), axis=0) if name in parameters else np.zeros_like(a)
            for name, a in like.items()
        }

    assert case.initial is not None
    layers = zip(case.parameters, case.initial, strict=True)
    return tuple(tuple(states(*leaves) for leaves in zip(*layer, strict=True)) for layer in layers)


def _folder() -> str:
    """Where this process works; nothing if that was removed."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def _of_arrays(result: _Result) -> _Result:
    """The same. Raises AdapterError unless it holds NumPy arrays, nested as the contract says."""
    try:
        found = named(result)
    except Exception as error:
        raise AdapterError(
            f"{type(result).__name__} are not nested as layers, directions, names: {type(error).__name__}: {error}"
        ) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray | np.matrix):
            raise AdapterError(f"{name} in {type(result).__name__} is a {type(array).__name__}; expected a NumPy array")
    return result


def message(error: BaseException) -> str:
    """The message of an exception, or a note that the message raises."""
    try:
        return str(error)
    except Exception as failed:
        return f"(its message raised {type(failed).__name__})"


def _kind(returned: Any) -> str:
    """The type of a value that was returned instead."""
    if type(returned) is tuple:
        return f"a tuple of {' and '.join(type(part).__name__ for part in returned) or 'nothing'}"
    return type(returned).__name__
