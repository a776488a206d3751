"""Which versions take part in a result."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from types import FunctionType, ModuleType

import numpy as np

from bpttcheck.contract import Implementation

_NAMED_ANYWAY = {"bpttcheck", "bpttref", "numpy"}


def own_version() -> str:
    """The version of bpttcheck; words if it runs from a checkout that is not installed."""
    try:
        return version("bpttcheck")
    except PackageNotFoundError:
        return "(not installed)"


def versions() -> dict[str, str]:
    """The versions that take part in every result, for the JSON of any command."""
    return {"bpttcheck": own_version(), "numpy": np.__version__, "python": platform.python_version()}


def libraries(subject: Implementation) -> dict[str, str]:
    """Versions of the distributions from which the files of an implementation's class and its bases import, except
    NumPy."""
    packages = set()
    for base in type(subject).__mro__:
        for value in vars(sys.modules.get(base.__module__, sys)).values():
            if isinstance(value, ModuleType):
                packages.add(value.__name__.partition(".")[0])
            elif isinstance(value, type | FunctionType):
                packages.add(str(value.__module__).partition(".")[0])
    installed = packages_distributions()
    distributions = {installed[name][0] for name in packages - _NAMED_ANYWAY if name in installed}
    return {name: version(name) for name in sorted(distributions)}
