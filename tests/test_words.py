"""The check of words itself: it finds each habit, and names file, line and plain words."""

import pytest

from .words import (
    HABITS,
    IN_COMMENTS,
    ROOT,
    UNFINISHED,
    everywhere,
    habits_in,
    in_code,
    in_comments,
    in_pages,
    in_templates,
)

MET = {
    "It puts each target of the run to all laws, and each case is put to it.": "runs on",
    "The subject is called again.": "implementation",
    "Cells are judged one after the other, and it judges them.": "test",
    "A trial begins.": "run",
    "Before anybody is accused": "report",
    "three oracles vote on it": "check",
    "through the second door": "interface",
    "one rung of a ladder": "step",
    "The law asks for T >= 3.": "needs",
    "Every gradient is that of the reference, and those of states are.": "repeat the noun",
    "The numbers stand beside each other.": "next to",
    "It keeps but 0.71, nothing but zeros, and all but for one.": "except",
    "It fails since the state is cut.": "because",
    "a right implementation, and wrong numbers": "correct",
    "a cell of one's own": "your",
    "They take turns, or run by turns.": "interleaved",
    "It foretells the loss.": "predict",
    "The allowance is measured.": "tolerance",
    "It looks at the inputs alone.": "only",
    "It runs. What it does not support is skipped.": "begin with a noun",
    "cut before steps 3, 6, ..": "...",
}
MET_IN_COMMENTS = {
    "The arrays that go in, and what comes out.": "a noun",
    "Where the axis cannot be told.": "given",
    "It is read when it is first asked for.": "requested",
    "Of a cell that nobody knows.": "unknown",
    "A mistake of ours in another process.": "of bpttcheck",
    "A sentence where it goes wrong.": "fail",
    "A sequence of so many steps.": "this number of",
    "The texts that are to be shown.": "should",
    "The numbers that are right.": "correct",
    "By derivatives of the own forward pass.": "its own",
    "Allocations less releases.": "minus",
    "Arrays that are differentiated by.": "has gradients",
    "Through each interface that there is.": "leave it out",
    "Whoever reports them clears the set.": "the code that",
    "The others are compared as ever.": "as usual",
}
PLAIN = (
    "What is a law?",
    "Tested since version 0.2, since 2024, and not changed since.",
    "wait ... and see, T=1..7, ../README.md",
    "The right side of the equation, a standalone program, a subjective view.",
    "The law pieces-alone is one that a subject: an argument, passes.",
)


def found(text, habits=HABITS):
    return [instead for _, _, instead in habits_in(text, habits)]


@pytest.mark.parametrize(("text", "instead"), MET.items())
def test_each_habit_is_found(text, instead):
    assert any(instead in said for said in found(text))


def test_there_is_a_sentence_for_each_habit():
    assert all(any(habit.instead in found(text) for text in MET) for habit in HABITS)


@pytest.mark.parametrize(("text", "instead"), MET_IN_COMMENTS.items())
def test_each_habit_of_comments_is_found(text, instead):
    assert any(instead in said for said in found(text, IN_COMMENTS))


def test_there_is_a_sentence_for_each_habit_of_comments():
    assert all(any(habit.instead in found(text, IN_COMMENTS) for text in MET_IN_COMMENTS) for habit in IN_COMMENTS)


@pytest.mark.parametrize("text", PLAIN)
def test_plain_sentences_pass(text):
    assert not found(text, (*HABITS, *IN_COMMENTS))


def test_a_page_is_read_without_its_code(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\nWith `a subject`.\n\n    $ bpttcheck judge\n\n```python\nsubject\n```\n\nA subject.\n")
    (one,) = in_pages([page])
    assert (one.file, one.line, one.words) == (page, 11, "subject")
    assert str(one).endswith("page.md:11: 'subject': write implementation, or your implementation")


def test_only_the_part_of_the_changelog_that_is_not_released_counts(tmp_path):
    page = tmp_path / "CHANGELOG.md"
    page.write_text("# Changelog\n\n## Unreleased\n\n- A subject.\n\n## 0.1.0\n\n- A subject.\n")
    assert [habit.line for habit in in_pages([page])] == [5]


def test_messages_help_and_public_docstrings_count(tmp_path):
    code = tmp_path / "code.py"
    code.write_text(
        '"""Of a subject."""\n'
        'def check():\n    """A subject.\n\n    >>> print("a subject")\n    """\n'
        '    raise ValueError("a subject it is")\n'
        'def private():\n    """A subject."""\n'
        '@click.command()\ndef run():\n    """Run a subject."""\n'
    )
    assert {habit.line for habit in in_code([code])} == {3, 7, 12}


def test_comments_and_private_docstrings_count(tmp_path):
    code = tmp_path / "code.py"
    code.write_text(
        '"""Code.\n\n    subject = 1\n\nThe subject."""\n'
        "here = 1  # by turns\n"
        'class Private:\n    """What it is. subject, alone: names of fields.\n\n    what: of whoever.\n    """\n'
        'def private():\n    ...\n    return "a subject"\n'
        '@click.command()\ndef run():\n    """Run a subject."""\n'
    )
    assert [(habit.line, habit.words) for habit in in_comments([code])] == [
        (8, "What it is."), (8, "What"), (10, "whoever"), (5, "subject"), (6, "by turns")
    ]  # fmt: skip


def test_pages_messages_and_docstrings_are_plain():
    assert not [str(habit) for habit in everywhere() if str(habit.file) not in UNFINISHED]


def test_files_that_are_plain_are_not_excused():
    assert UNFINISHED <= {str(habit.file) for habit in everywhere()}


def test_lint_runs_the_check():
    assert (
        "    python tests/words.py\n" in (ROOT / "tox.ini").read_text().split("[testenv:lint]")[1].split("[testenv")[0]
    )


def test_words_of_templates_count(tmp_path):
    page = tmp_path / "page.html.jinja"
    page.write_text('<style>\n.subject { }\n</style>\n<p class="subject">{{ subject }} a <b>subject</b></p>\n')
    assert [(habit.line, habit.words) for habit in in_templates([page])] == [(4, "subject")]
