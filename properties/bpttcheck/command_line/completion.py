"""The names that the shell proposes after a tab. No library under test is imported for it."""

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from bpttcheck.dtypes import FORMATS
from bpttcheck.laws import LAWS
from bpttcheck.targets import installed, offered
from bpttref import CELLS

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def among(names: Iterable[str]) -> Completer:
    """The names that begin with the typed letters."""
    known = sorted(names)
    return lambda _, __, typed: [CompletionItem(name) for name in known if name.startswith(typed)]


law_ids = among(law.id for law in LAWS)
cells = among(cell.name for cell in CELLS)
dtypes = among(FORMATS)


def targets(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Targets that are installed, by name; files where no name begins so."""
    names = among({*installed(), *(entry.name for entry in offered())})
    return names(context, parameter, typed) or [CompletionItem(typed, type="file")]
