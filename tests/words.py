"""The words that pages, messages, docstrings and comments avoid, with plain words; ``tox -e lint`` runs this file.

Readers who learnt English at school stumble over these habits. Code is left out: blocks, and names in backticks.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Habit(NamedTuple):
    """A pattern that prose avoids, and plain words for it."""

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

IN_COMMENTS = (  # of comments, and of docstrings that no page shows
    Habit(r"\bwhat\b(?![^.!]*\?)", "a noun; keep what for questions"),
    Habit(r"\btold\b", "given, known, or reported"),
    Habit(r"\bask(?:ed|ing) for\b|\b(?:is|are|was|were|be) asked\b", "requested"),
    Habit(r"\bnobody\b", "unknown, or no other"),
    Habit(r"\bof ours\b", "of bpttcheck"),
    Habit(r"\b(?:go|goes|went) wrong\b", "fail, or an error"),
    Habit(r"\bso many\b", "this number of"),
    Habit(r"\b(?:is|are) to be\b", "should, or must"),
    Habit(r"\b(?:is|are|was|were) (?:right|wrong)\b", "correct, or incorrect"),
    Habit(r"\b(?:the|an) own\b", "its own"),
    Habit(r"\bless (?:the|those|\w+s)\b", "minus, or without"),
    Habit(r"\bdifferentiated by\b", "has gradients for"),
    Habit(r"\b(?:that|which) there (?:is|are)\b(?! \w)", "leave it out, or say whose it is"),
    Habit(r"\bwhoever\b", "the code that, or say who"),
    Habit(r"\b(?:all the same|as ever|to the same end|in vain|for want of|as it were)\b", "still, as usual, without"),
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


def habits_in(text: str, habits: Sequence[Habit] = HABITS) -> Iterator[tuple[int, str, str]]:
    """Where each habit is in a text, by its offset, with its words and the plain ones."""
    for pattern, instead in habits:
        for found in re.finditer(pattern, text, re.IGNORECASE if "What" not in pattern else 0):
            yield found.start(), " ".join(found[0].split()), instead


def blanked(pattern: str, text: str, flags: int = 0) -> str:
    """The text with each match replaced by spaces; lines stay lines."""
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
        and node.body
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


def in_comments(files: list[Path]) -> Iterator[Found]:
    """Habits in comments, and in docstrings that no page shows, without the names of fields before a colon."""
    public = public_names()
    for file in files:
        source = file.read_text()
        texts = [(node.lineno, cleandoc(str(node.value))) for node in private_docstrings(ast.parse(source), public)]
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        texts += [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
        for line, text in texts:
            prose = blanked(r"(?:^|(?<=\. ))\w+(?:, \w+)*: ", prose_of_page(text), re.MULTILINE)
            for offset, words, instead in habits_in(prose, (*HABITS, *IN_COMMENTS)):
                yield Found(file, line + prose[:offset].count("\n"), words, instead)


def in_templates(files: list[Path]) -> Iterator[Found]:
    """Habits in the words of pages of HTML, without tags, styles, scripts and the parts that are filled in."""
    for file in files:
        text = blanked(r"<(style|script)>.*?</\1>|\{[{%].*?[%}]\}|<[^>]*>", file.read_text(), re.DOTALL)
        for offset, words, instead in habits_in(text):
            yield Found(file, text[:offset].count("\n") + 1, words, instead)


@cache
def everywhere() -> list[Found]:
    """All habits in the pages, in the templates of pages, and in the words of the code."""
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
    code = [file for folder in ("reference", "properties") for file in sorted((ROOT / folder).rglob("*.py"))]
    templates = sorted((ROOT / "properties").rglob("*.html.jinja"))
    scripts = sorted(file for folder in ("", "benchmarks") for file in (ROOT / "asv_bench" / folder).glob("*.py"))
    tests = [file for file in sorted((ROOT / "tests").rglob("*.py")) if "version_0_1_0" not in file.parts]
    internal = [file for file in code if "templates" not in file.parts] + scripts + tests
    found = [*in_pages(pages), *in_code(code), *in_templates(templates), *in_comments(internal)]
    return [habit._replace(file=habit.file.relative_to(ROOT)) for habit in found]


if __name__ == "__main__":
    met = [habit for habit in everywhere() if str(habit.file) not in UNFINISHED]
    print(*met, sep="\n", end="\n" * bool(met))
    sys.exit(bool(met))
