"""``bpttcheck init``."""

from importlib.resources import files
from pathlib import Path

import click

from bpttcheck.command_line.ending import stop

_LIBRARIES = ("numpy", "torch", "jax", "autograd")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--from", "library", type=click.Choice(_LIBRARIES), default="numpy", show_default=True,
              help="What your implementation is written with.")  # fmt: skip
def init(file: Path, library: str) -> None:
    """Write an adapter to fill in, e.g. my_rnn.py. It passes as it stands. No file is ever overwritten."""
    template = files("bpttcheck") / "templates" / f"{library}.py"
    try:
        if file.suffix != ".py":
            raise click.UsageError(f"an adapter is a Python file, such as {file.with_suffix('.py')}")
        with file.open("x", encoding="utf-8") as new:
            new.write(template.read_text(encoding="utf-8").replace("my_rnn.py", str(file)))
    except FileExistsError:
        stop(FileExistsError(f"{file} is there already, and stays as it is"))
    except (click.UsageError, OSError) as error:
        stop(error)
    click.echo(f"written: {file}\nnext: bpttcheck verify {file}:MyRNN")
