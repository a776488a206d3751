"""The command ``bpttcheck``: arguments and exit codes, nothing else; one file a command."""

import click

from bpttcheck.command_line.catalogue import list_faults, list_laws
from bpttcheck.command_line.gradients import gradients
from bpttcheck.command_line.init import init

# M
from bpttcheck.command_line.matrix import matrix
from bpttcheck.command_line.remedies import remedies
from bpttcheck.command_line.replay import replay
from bpttcheck.command_line.strategies import strategies
from bpttcheck.command_line.targets import targets
from bpttcheck.command_line.verify import verify
from bpttcheck.command_line.xray import xray
from bpttcheck.versions import own_version


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(own_version())
def main() -> None:
    """Is this backpropagation through time right?"""


for command in (verify, matrix, init, targets, replay, xray, gradients, remedies, strategies, list_laws, list_faults):
    main.add_command(command)
