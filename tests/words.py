"""The words that pages, messages and docstrings avoid, with the plain words for them; ``tox -e lint`` runs this file.

Readers who learnt English at school stumble over these habits. Code is left out: blocks, and names in backticks.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Habit(NamedTuple):
    """A pattern that prose avoids, and what to write instead."""

    pattern: str
    instead: str


HABITS = (
    Habit(r"\bput to\b|\bputs? [^.;:]*\bto (?:the |all )?laws?\b", "runs on, or is tested with"),
    Habit(r"\bsubjects?\b(?! ?[=:)}]|, ?(?:$|\w+[,)]))", "implementation, or your implementation"),
    Habit(r"\bjudg(?:ed?|es|ing|ements?)\b", "test, check or compare"),
    Habit(r"(?<!: )\btrials?\b(?! ?[:.])", "run"),
    Habit(r"\baccus(?:ed?|es|ing)\b", "report a failure of"),
    Habit(r"\bvot(?:e|ed|es|ing)\b", "check, or agree"),
    Habit(r"\bdoors?\b(?! ?:)", "interface"),
    Habit(r"\brungs?\b", "step"),
    Habit(r"\basks? for\b", "needs, or request"),
    Habit(r"\b(?:that|those) of\b", "repeat the noun: the gradient of .."),
    Habit(r"\bbeside\b", "next to"),
    Habit(
        r"\b(?:nothing|none|nobody|anything|everything|all|no \w+|keeps?) but\b|\bbut (?:for|as)\b", "except, or only"
    ),
    Habit(r"\bsince\b(?! (?:version|\d|then\b)|[.,;)])", "because"),
    Habit(
        r"\b(?:right|wrong) (?:implementations?|code|numbers?|gradients?|formulas?|answers?|results?|backward|ones?)\b",
        "correct, or incorrect",
    ),
    Habit(r"\bone's\b", "your"),
    Habit(r"\b(?:by turns|takes? turns)\b", "interleaved, or alternate"),
    Habit(r"\bforetell\w*\b", "predict"),
    Habit(r"\ballowances?\b", "tolerance"),
    Habit(r"(?<!-)\balone\b(?!-)", "only, or on its own"),
    Habit(r"(?:^|(?<=[.!?] ))What\b(?:[^.?!]|\.(?! |$))*(?:[.!](?= |$))", "begin with a noun"),
    Habit(r"(?:^|(?<=[\s(]))\.\.(?![.\w/])", "..."),
)

UNFINISHED: set[str] = set()  # pages that are still to be rewritten


class Found(NamedTuple):
    """A habit in a line of a file."""

    file: Path
    line: int
    words: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.words!r}: write {self.instead}"


def habits_in(text: str) -> Iterator[tuple[int, str, str]]:
    """Where each habit is in a text, by its offset, with its words and what to write instead."""
    for pattern, instead in HABITS:
        for found in re.finditer(pattern, text, re.IGNORECASE if "What" not in pattern else 0):
            yield found.start(), " ".join(found[0].split()), instead


def blanked(pattern: str, text: str, flags: int = 0) -> str:
    """The text with what matches replaced by as many spaces; lines stay lines."""
    return re.sub(pattern, lambda found: re.sub(r"\S", " ", found[0]), text, flags=flags)


def prose_of_page(text: str) -> str:
    """A page of Markdown without code, tables of contents and addresses."""
    text = blanked(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    text = blanked(r"(?:(?<=\n\n)|\A)(?: {4}.*\n|\n(?= {4}))+", text)
    return blanked(r"(`+)[^`]+?\1|\]\([^)]*\)|\$(?! )[^$\n]+\$", text)


def in_pages(files: list[Path]) -> Iterator[Found]:
    for file in files:
        text = file.read_text()
        if file.name == "CHANGELOG.md":
            text = "\n## ".join(text.split("\n## ")[:2])  # up to the part that is not released
        prose = prose_of_page(text)
        for offset, words, instead in habits_in(prose):
            yield Found(file, prose[:offset].count("\n") + 1, words, instead)


def public_names() -> set[str]:
    """The names on the page of the API."""
    page = (ROOT / "docs" / "api.md").read_text()
    return set(re.findall(r"^\.\. auto\w+:: (?:\w+\.)*(\w+)$", page, re.MULTILINE))


def private_docstrings(node: ast.AST, public: set[str], shown: bool = False) -> Iterator[ast.Constant]:
    """The docstrings that are not on the page of the API and are no help of a command."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            is_command = any("command" in ast.unparse(decorator) for decorator in child.decorator_list)
            known = child.name in public or is_command or (shown and not child.name.startswith("_"))
            yield from private_docstrings(child, public, known)
            first = child.body[0]
            if not known and isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first.value
    if (
        isinstance(node, ast.Module)
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    ):
        yield node.body[0].value


def in_code(files: list[Path]) -> Iterator[Found]:
    """Habits in public docstrings, and in texts of more than one word: messages, help, laws, faults."""
    public = public_names()
    for file in files:
        tree = ast.parse(file.read_text())
        private = set() if "templates" in file.parts else {*private_docstrings(tree, public)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
                if node not in private:
                    text = blanked(r"(`+)[^`]+?\1|^\s*(?:>>>|\.\.\.) .*$", node.value, re.MULTILINE)
                    for offset, words, instead in habits_in(text):
                        yield Found(file, node.lineno + text[:offset].count("\n"), words, instead)


def in_templates(files: list[Path]) -> Iterator[Found]:
    """Habits in the words of pages of HTML, without tags, styles, scripts and what is filled in."""
    for file in files:
        text = blanked(r"<(style|script)>.*?</\1>|\{[{%].*?[%}]\}|<[^>]*>", file.read_text(), re.DOTALL)
        for offset, words, instead in habits_in(text):
            yield Found(file, text[:offset].count("\n") + 1, words, instead)


@cache
def everywhere() -> list[Found]:
    """All habits in the pages, in what becomes a page, and in the code that users read."""
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    code = [file for folder in ("reference", "properties") for file in sorted((ROOT / folder).rglob("*.py"))]
    templates = sorted((ROOT / "properties").rglob("*.html.jinja"))
    found = [*in_pages(pages), *in_code(code), *in_templates(templates)]
    return [habit._replace(file=habit.file.relative_to(ROOT)) for habit in found]


if __name__ == "__main__":
    met = [habit for habit in everywhere() if str(habit.file) not in UNFINISHED]
    print(*met, sep="\n", end="\n" * bool(met))
    sys.exit(bool(met))
