"""The page of chapter 9.7 as a notebook that was run: `tox -e notebook` writes it.

Programs and commands of the page become cells; their output is new, so the output on the page is left out. Pictures
come into the file, and links to other pages become plain text.
"""

import base64
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PAGE = Path(__file__).with_name("chapter.md")
_PARTS = re.compile(r"^```python\n([\s\S]*?)^```$|((?:^ {4}.*\n|^\n(?=\n* {4}))+)", re.MULTILINE)
_COMMAND = re.compile(r"^    \$ ((?:.*\\\n)*.*)$", re.MULTILINE)
_LINKED_PICTURE = re.compile(r"\[!\[([^]]*)\]\((\S+)\)\]\(\S+\)")
_LINK = re.compile(r"(?<!!)\[([^]]*)\]\((?!https:|attachment:)[^)\s]+\)")


def cells(page: str) -> list[nbformat.NotebookNode]:
    """The page in the order in which it is read."""
    parts, found = [*_PARTS.split(page), None, None], []  # nothing follows the last words
    for prose, program, block in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        if prose.strip():
            found.append(in_words(prose.strip()))
        if program:
            found.append(new_code_cell(program.rstrip()))
        found += [new_code_cell(f"%%sh\n{command}") for command in _COMMAND.findall(block or "")]
    return found


def in_words(prose: str) -> nbformat.NotebookNode:
    pictures = {file: (PAGE.parent / file).read_bytes() for _, file in _LINKED_PICTURE.findall(prose)}
    attached = {file: {"image/png": base64.b64encode(picture).decode()} for file, picture in pictures.items()}
    shown = _LINKED_PICTURE.sub(r"![\1](attachment:\2)", prose)
    return new_markdown_cell(_LINK.sub(r"\1", shown), attachments=attached)


if __name__ == "__main__":
    notebook, file = new_notebook(cells=cells(PAGE.read_text())), Path(sys.argv[1])
    os.environ["TTY_COMPATIBLE"] = "0"  # the output of a cell is no terminal, although ipykernel says so
    NotebookClient(notebook, kernel_name="python3").execute()
    file.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, file)
    print(f"written: {file}")
