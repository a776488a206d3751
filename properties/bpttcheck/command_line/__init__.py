"""The command ``bpttcheck``: arguments and exit codes, nothing else; one file a command."""

import sys
from pathlib import Path
from typing import Any, NoReturn

import click

from bpttcheck.command_line.catalogue import list_faults, list_laws
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.gradients import gradients
from bpttcheck.command_line.init import init
from bpttcheck.command_line.matrix import matrix
from bpttcheck.command_line.remedies import remedies
from bpttcheck.command_line.replay import replay
from bpttcheck.command_line.settings import read_settings
from bpttcheck.command_line.strategies import strategies
from bpttcheck.command_line.targets import targets
from bpttcheck.command_line.verify import verify
from bpttcheck.command_line.watch import watch
from bpttcheck.command_line.xray import xray
from bpttcheck.exit_status import AT_FAULT, INTERRUPTED
from bpttcheck.misspelt import did_you_mean
from bpttcheck.running.service import Unforeseen, unforeseen
from bpttcheck.versions import own_version


class _Commands(click.Group):
    """Ctrl-C that no command handles ends with the status of an interruption; a bug of bpttcheck says so."""

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **more)
        except KeyboardInterrupt:
            _interrupted()

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if words[0] not in self.commands and words[0].isidentifier():
            near = did_you_mean(words[0], self.commands)
            context.fail(f"there is no command {words[0]!r}{near}")
        return super().resolve_command(context, words)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            _interrupted()
        except (
            click.ClickException,
            click.exceptions.Exit,
            click.Abort,
            BrokenPipeError,
        ):  # `| head`, which click knows
            raise
        except Exception as error:
            if "--traceback" in sys.argv:
                raise
            said = error if isinstance(error, Unforeseen) else unforeseen(error)
            click.echo(f"bpttcheck: internal error, please report it: {said}", err=True)
            context.exit(AT_FAULT)


def _interrupted() -> NoReturn:
    click.echo("interrupted", err=True)
    raise click.exceptions.Exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(own_version())
@click.option("--no-settings", is_flag=True, help="Ignore [tool.bpttcheck] of pyproject.toml.")
@click.pass_context
def main(context: click.Context, no_settings: bool) -> None:
    """Test implementations of backpropagation through time (BPTT)."""
    if context.invoked_subcommand == "verify" and not no_settings:
        try:
            context.default_map = {"verify": read_settings(verify, Path.cwd())}
        except (ValueError, OSError) as error:
            stop(error)


for command in (
    verify, matrix, init, targets, replay, xray, watch, gradients, remedies, strategies, list_laws, list_faults,
):  # fmt: skip
    main.add_command(command)
