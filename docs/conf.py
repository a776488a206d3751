"""The site: the Markdown files of the repository as they are, in the order of CONTENTS. `tox -e docs` builds it."""

import ast
import re
import shutil
from importlib.metadata import distribution
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from docutils.nodes import Element, SkipNode, image, math, math_block, reference
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.search.en import SearchEnglish
from sphinx.util.logging import getLogger
from sphinx.util.nodes import make_refnode
from sphinx.util.osutil import relative_uri
from sphinx.writers.html5 import HTML5Translator

CONTENTS = {
    "bpttcheck": ["Start here <self>"],
    "Verify your own RNN": [
        "docs/your-arrays",
        "docs/modern",
        "docs/your-own",
        "docs/own-cells",
        "docs/own-cells-seen",
        "docs/numpy-lstm",
        "docs/any-language",
        "docs/in-ci",
        "docs/formats",
        "docs/libraries",
        "docs/matrix",
        "docs/findings",
    ],
    "Watch a training loop": ["docs/watch"],
    "Understand a verdict": ["docs/failures", "docs/honest-limits", "docs/reliability"],
    "Laws and faults": ["docs/laws", "docs/faults", "docs/detection", "docs/boundaries", "docs/false-alarms"],
    "Strategies and gradients": ["docs/chapter", "docs/gradients", "docs/remedies", "docs/strategies"],
    "Inside": ["docs/how-it-works", "docs/performance", "asv_bench/README", "CONTRIBUTING"],
    "Reference": ["docs/api", "CHANGELOG"],
}  # page titles are in the pages

WRITTEN = ["side-by-side.html"]  # by `bpttcheck matrix`

project = "bpttcheck"
version = release = version_of("bpttcheck")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
root_doc = "README"
smartquotes = False  # they would change the apostrophes of formulas
include_patterns = ["*.md", "docs/*.md", "asv_bench/README.md"]
exclude_patterns = ["build", ".*"]

copybutton_prompt_text, copybutton_prompt_is_regexp = r"\$ |>>> |\.\.\. ", True  # of sessions only commands are copied
copybutton_line_continuation_character = "\\"

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
default_role = "py:obj"  # `name` in a docstring is on the API page
nitpick_ignore = [("py:class", "collections.abc.Callable")]
autodoc_mock_imports = ["torch", "jax"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "none"  # types and shapes are in the docstrings
napoleon_google_docstring = napoleon_use_param = napoleon_use_rtype = False
add_module_names = False

html_theme = "furo"
html_title = f"bpttcheck {version}"
MATH_FONT = distribution("ziamath").locate_file("ziamath/fonts/STIXTwoMath-Regular.ttf")
html_static_path, html_css_files = ["_static", str(MATH_FONT)], ["site.css"]
html_math_renderer = "mathml"
html_show_copyright = False
html_show_sourcelink = html_copy_source = False


def add_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the table of contents below the start page, which a code host shows without it."""
    if docname == root_doc:
        for caption, pages in CONTENTS.items():
            source[0] += "\n".join(["\n```{toctree}", ":hidden:", f":caption: {caption}", *pages, "```\n"])


def find_public_name(app: Sphinx, env: BuildEnvironment, node: Element, shown: Element) -> reference | None:
    """A docstring calls what is on the API page by its bare name, wherever it is imported from."""
    for name, found in env.domains.python_domain.objects.items():
        if node["refdomain"] == "py" and name.rpartition(".")[2] == node["reftarget"]:
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, shown, name)
    return None


def name_functions(app: Sphinx, what: str, name: str, of: object, options: object, shown: str | None, _: object) -> Any:
    """A default of a dataclass that is a function is shown as in other signatures, and not as an object."""
    named = re.sub(r"<function [^>]*<lambda>>", "lambda ...", shown or "")
    return (named, None) if named != (shown or "") else None


def constants(module: str) -> dict[str, tuple[str, int, int]]:
    """The lines of the annotated constants of a module, such as LAWS."""
    body = ast.parse(ModuleAnalyzer.for_module(module).code).body
    named = [node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {ast.unparse(node.target): ("other", node.lineno, node.end_lineno or node.lineno) for node in named}


def stay_in_module(app: Sphinx, module: str, name: str) -> str | None:
    """The source of a constant is in the module that is named, wherever the class of its value is."""
    return module if name in constants(module) else None


def find_source(app: Sphinx, module: str) -> tuple[str, dict[str, tuple[str, int, int]]]:
    """The code of a module, with the lines of functions and classes, and of constants as well."""
    analyzer = ModuleAnalyzer.for_module(module)
    analyzer.find_tags()
    return analyzer.code, {**analyzer.tags, **constants(module)}


def open_files(app: Sphinx, tree: Element, docname: str) -> None:
    """A picture that links to itself is opened, not saved, and so is a page that bpttcheck wrote."""
    for link in list(tree.findall(download_reference)):
        if link["reftarget"] in WRITTEN:
            address = relative_uri(app.builder.get_target_uri(docname), f"docs/{link['reftarget']}")
            link.replace_self(reference("", "", *link.children, refuri=address, internal=True))
        for picture in link.findall(image):
            file = f"_images/{app.env.images[picture['uri']][1]}"
            address = relative_uri(app.builder.get_target_uri(docname), file)
            link.replace_self(reference("", "", picture, refuri=address, internal=True))


class NumberedSearch(SearchEnglish):
    """The site's search: the number of a section or an equation, such as 9.7.4, is a word."""

    _word_re = re.compile(r"\d+(?:\.\d+){2,}|\w+")
    js_splitter_code = r"var splitQuery = (query) => query.match(/\d+(?:\.\d+){2,}|[\p{L}\p{N}_]+/gu) || [];"


def typeset(page: HTML5Translator, node: math | math_block) -> None:
    """Write mathematics as MathML, which browsers draw without a script; a ``\\tag`` stands at the right."""
    formula, _, number = node.astext().partition(r"\tag")
    try:
        written = tex2mathml(formula.strip(), as_block=isinstance(node, math_block))
    except MathError as error:
        getLogger(__name__).warning("%s", error, location=node)
        written = page.encode(formula)
    numbered = f'<span class="number">({number.strip("{}")})</span>' if number else ""
    page.body.append(f'<div class="formula">{written}{numbered}</div>' if isinstance(node, math_block) else written)
    raise SkipNode


def add_files(app: Sphinx, exception: Exception | None) -> None:
    """The start page is what a server shows for the folder, too; pages that bpttcheck wrote link to the site's."""
    if exception:
        return
    site = Path(app.outdir)
    shutil.copy(site / f"{root_doc}.html", site / "index.html")
    for name in WRITTEN:
        page = (Path(app.srcdir) / "docs" / name).read_text(encoding="utf-8")
        linked = re.sub(r'(href="[\w-]+)\.md([#"])', r"\1.html\2", page)
        (site / "docs" / name).write_text(linked, encoding="utf-8")


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (typeset, None), (typeset, None))
    app.add_search_language(NumberedSearch)
    app.connect("source-read", add_contents)
    app.connect("missing-reference", find_public_name)
    app.connect("autodoc-process-signature", name_functions)
    app.connect("viewcode-follow-imported", stay_in_module)
    app.connect("viewcode-find-source", find_source)
    app.connect("doctree-resolved", open_files)
    app.connect("build-finished", add_files)
