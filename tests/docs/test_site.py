"""The site that `tox -e docs` builds."""

import json
import re
from html.parser import HTMLParser

import pytest

from .pages import PAGES, ROOT

SITE = ROOT / "build" / "site"
pytestmark = pytest.mark.skipif(not SITE.exists(), reason="tox -e docs builds the site")


class Loads(HTMLParser):
    """The addresses that a browser fetches for a page: sources, and links that are no anchors."""

    def __init__(self, page):
        super().__init__()
        self.addresses = []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        wanted = ["src", "srcset", "data", "poster"] + ["href"] * (tag in ("link", "image", "use"))
        self.addresses += [named[name] for name in wanted if named.get(name)]


def test_each_page_is_there_and_the_folder_opens_with_the_first():
    for page in PAGES:
        assert (SITE / page.relative_to(ROOT)).with_suffix(".html").exists()
    assert (SITE / "index.html").read_text() == (SITE / "README.html").read_text()


def test_pages_load_nothing_from_other_hosts():
    addresses = {address for page in SITE.rglob("*.html") for address in Loads(page).addresses}
    assert addresses and not {address for address in addresses if "//" in address}


def test_styles_and_scripts_load_nothing_from_other_hosts():
    for style in SITE.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text()), style
    for script in SITE.rglob("*.js"):
        assert not re.search(r"(?:import|fetch|src\s*=)\s*\(?[\"'`](?:https?:)?//", script.read_text()), script


@pytest.mark.parametrize("words", ["9.7.1", "9.7.2", "9.7.3", "9.7.4", "9.7.7", "intermediate values", "butterfly"])
def test_the_search_finds_the_chapter(words):
    """The script of the site makes words of a query, and its index has their stems."""
    stemmer = pytest.importorskip("snowballstemmer", reason="Sphinx brings it").stemmer("english")
    index = json.loads((SITE / "searchindex.js").read_text().removeprefix("Search.setIndex(").removesuffix(")"))
    chapter = index["docnames"].index("docs/chapter")
    splitter = re.search(r"query\.match\(/(.*)/gu\)", (SITE / "_static" / "language_data.js").read_text())
    assert splitter
    for word in re.findall(splitter[1].replace(r"[\p{L}\p{N}_]", r"\w"), words):
        found = [index[where].get(stemmer.stemWord(word), []) for where in ("terms", "titleterms")]
        assert any(chapter in (pages if isinstance(pages, list) else [pages]) for pages in found), word


def test_blocks_have_a_button_that_copies_commands_without_their_prompts():
    assert "copybutton.js" in (SITE / "README.html").read_text()
    script = (SITE / "_static" / "copybutton.js").read_text()
    assert r"'\\$ |>>> |\\.\\.\\. '" in script and "'\\\\'" in script


def test_mathematics_is_typeset():
    page = (SITE / "docs" / "chapter.html").read_text()
    numbers = re.findall(r'</math><span class="number">\((9\.7\.\d+)\)</span>', page)
    assert numbers == [f"9.7.{k}" for k in range(1, 17)]
    assert "$$" not in page and "\\frac" not in page


def test_the_page_of_all_implementations_opens_by_a_click():
    """A link to it is no download, and its own links lead to pages of the site."""
    (link,) = re.findall(r'<a [^>]*href="side-by-side\.html"[^>]*>', (SITE / "docs" / "matrix.html").read_text())
    assert "download" not in link
    page = (SITE / "docs" / "side-by-side.html").read_text()
    others = {address.partition("#")[0] for address in re.findall(r'href="([^":]+)"', page)} - {""}
    assert others and all((SITE / "docs" / name).exists() for name in others), others


def test_pictures_are_dark_on_dark_pages():
    """By the style, for a reader's choice and for the system's."""
    style = (SITE / "_static" / "site.css").read_text()
    assert re.search(r'body\[data-theme="dark"\] article img {\s*filter: invert\(1\)', style)
    assert re.search(r'body:not\(\[data-theme="light"\]\) article img {\s*filter: invert\(1\)', style)


def test_each_public_name_has_its_sections_and_a_link_to_its_source():
    page = (SITE / "docs" / "api.html").read_text()
    names = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert names
    for name in names:
        signature = page.split(f'id="{name}"')[1].split("</dt>")[0]
        assert "viewcode-link" in signature, f"{name} has no link to its source"
        link = re.search(r'href="\.\./(_modules/[\w/]+\.html)#(\w+)"', signature)
        assert link and f'id="{link[2]}"' in (SITE / link[1]).read_text(), name
    assert not re.search(r"<p>\s*(?:Parameters|Returns|Raises)\s*-{3,}", page)
