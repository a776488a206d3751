"""The pages of the documentation, taken apart: code, commands and their output, links."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Collection
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "asv_bench" / "README.md"], key=lambda page: str(page)
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_INDENTED = re.compile(r"(?:^ {4}.*\n|^\n(?=\n* {4}))+", re.MULTILINE)


class Shown(NamedTuple):
    """A command at a prompt, and the lines below it."""

    command: str
    output: list[str]


def snippets(page: Path, language: str = "python") -> list[str]:
    return [code for written_in, code in _FENCE.findall(page.read_text()) if written_in == language]


class Saved(NamedTuple):
    """A program that the text below it says to save as a file."""

    name: str
    code: str
    below: str


def saved(page: Path) -> list[Saved]:
    parts, found = _FENCE.split(page.read_text())[1:], []
    for language, code, below in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        name = re.search(r"Save it as `(\w+\.py)`", below)
        if language == "python" and name:
            found.append(Saved(name[1], code, below))
    return found


def save_programs(page: Path, folder: Path) -> None:
    for name, code, _ in saved(page):
        (folder / name).write_text(code)


def links(page: Path) -> list[str]:
    """The targets of links and images that are no addresses of other hosts."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text()))
    return [target for target in _LINK.findall(text) if "://" not in target]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _blocks(page: Path) -> list[str]:
    """Blocks that are indented or in a fence, except programs, without the indentation and with lines joined at
    ``\\``."""
    text = page.read_text()
    fenced = [code for language, code in _FENCE.findall(text) if language in ("", "sh", "console", "yaml")]
    indented = [textwrap.dedent(block) for block in _INDENTED.findall(_FENCE.sub("", text))]
    return [re.sub(r" \\\n\s*", " ", block) for block in [*indented, *fenced]]


def commands(page: Path) -> list[list[str]]:
    """The words of each call of bpttcheck, in blocks and in backticks."""
    lines = [command for command, _ in shown(page)]
    lines += [line for block in _blocks(page) if "$ " not in block for line in block.splitlines()]
    lines += re.findall(r"`(bpttcheck [^`]+)`", _FENCE.sub("", page.read_text()).replace("\n", " "))
    calls = [call for line in lines for call in re.findall(r"(?:^|&& |run: |\d )bpttcheck (.*)", line.strip())]
    return [
        list(takewhile(lambda word: word not in ("&&", "|", ">"), shlex.split(call, comments=True))) for call in calls
    ]


def first_shown(text: str) -> str:
    """The first indented block of a text."""
    block = _INDENTED.search(text)
    return textwrap.dedent(block[0]).strip() if block else ""


def shown(page: Path) -> list[Shown]:
    """The commands at a prompt ``$``, with the lines below each of them."""
    found = []
    for block in _blocks(page):
        for session in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = session.rstrip().splitlines()
            found.append(Shown(command, output))
    return found


def absent(session: Shown, folder: Path, libraries: Collection[str]) -> set[str]:
    """The libraries that the saved program of a command imports, and that are not installed."""
    files = [folder / name for name in re.findall(r"\w+\.py", session.command)]
    imported = {
        name for file in files if file.exists() for name in re.findall(r"^import (\w+)", file.read_text(), re.MULTILINE)
    }
    return {name for name in imported & {*libraries} if importlib.util.find_spec(name) is None}


def assert_prints(session: Shown, folder: Path) -> None:
    """A command that is run in a folder prints the shown lines, where ``..`` stands for any text.

    Lines may break elsewhere; the message has them as they are.
    """
    here = f'bpttcheck() {{ "{sys.executable}" -m bpttcheck "$@"; }}; python() {{ "{sys.executable}" "$@"; }}; '
    done = run(["bash", "-c", here + session.command], folder)
    assert_shows(session.command, done.stdout + done.stderr, "\n".join(session.output))


def assert_shows(what: str, printed: str, expected: str) -> None:
    """The printed text is the expected one, except for line breaks, ``..`` and errors of rounding."""
    pieces = re.split(r"(?:^| )\.\.(?= |$)", _without_rounding(expected))
    pattern = ".*".join(re.escape(part.strip()) for part in pieces)
    if not re.fullmatch(pattern, _without_rounding(printed)):
        pytest.fail(f"{what}\n\nprinted\n\n{printed}\nbut shown is\n\n{expected}\n", pytrace=False)


def _without_rounding(text: str) -> str:
    """The words: pages show lines as a terminal of 80 columns breaks them.

    Errors of rounding differ between machines: 1.2e-15, and the sign of 0.00.
    """
    words = re.sub(r"(?<=[\w.])-\n\s*", "-", text).replace("-0.00", " 0.00").split()
    return re.sub(r"\d(\.\d+)?e[-+]\d+", "#", " ".join(words))


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "80"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
