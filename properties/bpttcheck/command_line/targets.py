"""``bpttcheck targets``."""

import importlib.util
from importlib.metadata import packages_distributions, version
from textwrap import fill

import click

from bpttcheck.adapters import BUILT_IN
from bpttcheck.contract import Implementation
from bpttcheck.measuring.calls import AdapterError, capabilities_of
from bpttcheck.running.child import Child
from bpttcheck.targets import GROUP, TargetError, offered
from bpttcheck.versions import own_version

_WIDTH = 80


@click.command()
def targets() -> None:
    """List the targets that have names, with the features of each."""
    click.echo("built in:")
    for name, (_, _, library) in BUILT_IN.items():
        click.echo(f"\n{name}: {_origin(library)}")
        if not library or importlib.util.find_spec(library):
            _describe(name)
    click.echo(f"\noffered by installed libraries (entry points {GROUP}):")
    for entry in offered():
        origin = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "unknown"
        click.echo(f"\n{entry.name}: {origin}, {entry.value}")
        if entry.name in BUILT_IN:
            click.echo(f"    not available: the built-in {entry.name} has that name")
        else:
            _describe(entry.name)
    if not offered():
        click.echo("    none")


def _origin(library: str | None) -> str:
    """Which version of its library a built-in target would test, and the extra that installs it."""
    if library is None:
        return f"bpttcheck {own_version()}"
    extra = f"bpttcheck[{library}]"
    installed = packages_distributions().get(library)  # haiku comes as dm-haiku
    if not installed:
        return f"not installed: python -m pip install '{extra}'"
    return f"{library} {version(installed[0])}, the extra {extra}"


def _describe(target: str) -> None:
    try:
        lines = iter(Child(target).ask(_abilities))
    except (TargetError, AdapterError) as error:
        lines = iter([("not available", str(error))])
    for what, text in lines:
        click.echo(fill(f"{what + ':':12} {text}", _WIDTH, initial_indent="    ", subsequent_indent=" " * 17))


def _abilities(subject: Implementation) -> list[tuple[str, str]]:
    declared = capabilities_of(subject)
    return [
        ("cells", ", ".join(cell.name for cell in declared.cells)),
        ("dtypes", ", ".join(declared.dtypes)),
        ("inputs", ", ".join(declared.inputs) or "none"),
        ("gradients", ", ".join(declared.gradients) or "none"),
        ("truncations", ", ".join(rule.__name__.lower() for rule in declared.truncations) or "none"),
    ]
