"""``bpttcheck init``."""

from importlib.resources import files
from pathlib import Path

import click

from bpttcheck.command_line.ending import stop
from bpttcheck.reporting.starting import start
from bpttcheck.running.child import Child, Died
from bpttcheck.targets import TargetError

_LIBRARIES = ("numpy", "torch", "jax", "autograd")
_SECONDS = 30.0  # for an import, and for a call


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "source", default="numpy", show_default=True, metavar="LIBRARY|FILE.PY:NAME|MODULE:NAME",
              help=f"Your code, or the library you use: {', '.join(_LIBRARIES)}.")  # fmt: skip
def init(file: Path, source: str) -> None:
    """Write a file that tests your code, or an adapter to fill in.

    Such as test_mine.py --from mine.py:forward, or my_rnn.py. The file runs as it is. bpttcheck never overwrites a
    file.
    """
    try:
        if file.suffix != ".py":
            raise click.UsageError(f"an adapter is a Python file, such as {file.with_suffix('.py')}")
        text, command = _from_library(source, file) if source in _LIBRARIES else _from_code(source, file)
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        stop(FileExistsError(f"{file} is there already, and stays as it is"))
    except (click.UsageError, OSError) as error:
        stop(error)
    click.echo(f"written: {file}\nnext: {command}")


def _from_library(library: str, file: Path) -> tuple[str, str]:
    """An adapter that passes as it stands, and the command that tests it."""
    template = files("bpttcheck") / "templates" / f"{library}.py"
    return template.read_text(encoding="utf-8").replace("my_rnn.py", str(file)), f"bpttcheck verify {file}:MyRNN"


def _from_code(target: str, file: Path) -> tuple[str, str]:
    """The same for existing code. It is imported and called in a process of its own, for a limited time."""
    place = target.rpartition(":")[0]
    if not place:
        raise click.UsageError(
            f"--from takes {', '.join(_LIBRARIES)}, or code such as mine.py:forward; it is {target!r}"
        )
    if place.endswith(".py") and Path(place).resolve().parent != file.resolve().parent:
        raise click.UsageError(
            f"{file} imports {place}: let both lie in one folder, or name a module, pkg.mine:forward"
        )
    try:
        text, command = Child("", _SECONDS).ask(start, target, str(file))
        return text, command
    except Died as death:
        script = f"a file that trains when it is imported needs that below `if __name__ == '__main__':` in {place}"
        raise click.UsageError(f"{death}: {script}") from death
    except (TargetError, ValueError) as error:
        raise click.UsageError(str(error)) from error
