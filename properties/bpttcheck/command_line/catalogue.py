"""``bpttcheck laws`` and ``bpttcheck faults``."""

import click
from rich.markup import escape

from bpttcheck.command_line import completion
from bpttcheck.command_line.ending import stop
from bpttcheck.command_line.terminal import new_console
from bpttcheck.laws import LAWS, Law
from bpttcheck.misspelt import did_you_mean
from bpttcheck.reporting.catalogue import explain, faults_by_line, faults_in_markdown, laws_in_markdown


@click.command("laws")
@click.argument("law_id", metavar="[ID]", required=False, shell_complete=completion.law_ids)
@click.option("--markdown", is_flag=True, help="Print the whole catalogue in Markdown.")
def list_laws(law_id: str | None, markdown: bool) -> None:
    """List the laws, or explain the law with this ID."""
    if markdown:
        click.echo(laws_in_markdown(), nl=False)
        return
    console = new_console()
    try:
        chosen = chosen_laws((law_id,) if law_id else ())
    except click.UsageError as error:
        stop(error)
    for law in chosen:
        console.print(f"[bold]{law.id}[/]  {escape(law.statement)}", highlight=False)
        for heading, text in explain(law).items() if law_id else ():
            console.print(f"    {heading}: {text}", markup=False, highlight=False)


@click.command("faults")
@click.option("--markdown", is_flag=True, help="Print the whole catalogue in Markdown.")
def list_faults(markdown: bool) -> None:
    """List the planted faults.

    `bpttcheck verify fault:ID` tests a fault.
    """
    click.echo(faults_in_markdown() if markdown else "\n".join(faults_by_line()), nl=not markdown)


def chosen_laws(ids: tuple[str, ...]) -> tuple[Law, ...]:
    known = {law.id: law for law in LAWS}
    for law_id in ids:
        if law_id not in known:
            near = did_you_mean(law_id, known)
            raise click.UsageError(f"there is no law {law_id!r} in the list of `bpttcheck laws`{near}")
    return tuple(known[law_id] for law_id in ids) or LAWS
