"""The matrix: many targets side by side, each tested in a process of its own or read from a file."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bpttcheck.cases.drawing import Draw
from bpttcheck.laws import LAWS
from bpttcheck.reporting.matrix.page import to_html
from bpttcheck.reporting.record import from_json, to_json
from bpttcheck.running.question import Question
from bpttcheck.running.results import Result
from bpttcheck.running.run import Record, Run
from bpttcheck.studies.pictures import new_figure
from bpttref import CELLS

from ..programs import command, gone, started

pytest.importorskip("jinja2", reason="jinja2 is not installed: python -m pip install '.[html]'")
PLANTED = """
import os, time
from dataclasses import replace
from bpttcheck.adapters.reference import Reference

class Right(Reference):
    name = "mine.py:Right 1.2"

    def capabilities(self):
        return replace(super().capabilities(), conventions={"update gate": "h' = (1 - z) n + z h, <b>as usual</b>"})

    def vjp(self, case):
        print('{"schema": 1, "rubbish": true}')
        return super().vjp(case)

class Killing(Reference):
    name = "killing"

    def vjp(self, case):
        os.kill(os.getpid(), 9)

class Leaving(Reference):
    name = "leaving"

    def vjp(self, case):
        os._exit(0)

class Hanging(Reference):
    name = "hanging"

    def vjp(self, case):
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
"""
LAW_IDS = ("pullback-reference", "causality", "window-reference")
FEW = (*(word for law in LAW_IDS for word in ("--law", law)), "--examples", "6", "--seed", "1")
STATUSES = ("passed", "failed", "error", "unsure", "known", "vacuous", "unfinished", "skipped")


class Page(HTMLParser):
    """The ids of a page, the addresses that it links to, and the table cells by the heading above their table."""

    def __init__(self, file):
        super().__init__()
        self.text = file.read_text(encoding="utf-8")
        self.ids, self.links, self.marks = [], [], []
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if "href" in given else []
        assert "src" not in given
        if tag == "a" and "title" in given:
            self.marks.append((given["href"], given["title"]))
        if tag == "th":
            assert given["scope"] in ("col", "row", "rowgroup")

    def check(self):
        """Links lead to a place on the page, or say more of a known failure; no two places have the same name."""
        here = {link[1:] for link in self.links if link.startswith("#")}
        assert here and here <= set(self.ids)
        elsewhere = [link for link in self.links if not link.startswith("#")]
        assert all(link.startswith(("https://", "findings.md#")) for link in elsewhere)
        assert not [name for name, times in Counter(self.ids).items() if times > 1]


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "mine.py").write_text(PLANTED)
    (folder / "raising.py").write_text("raise RuntimeError('no such :x: device')")
    return folder


@pytest.fixture(scope="module")
def judged(folder):
    """Targets of every kind, two at a time."""
    targets = ("mine.py:Right", "fault:di-uses-i", "raising.py:It", "mine.py:Killing", "mine.py:Leaving")
    done = command(
        "matrix", *targets, *FEW, "--cell", "lstm", "--cell", "gru-after", "-j", "2", "--html", "m.html", cwd=folder
    )
    return done, Page(folder / "m.html")


def test_targets_do_not_affect_each_other(judged):
    done, _ = judged
    assert done.returncode == 2 and not done.stderr
    said = words(done.stdout)
    for sentence in (
        "NOT TESTED raising.py:It: raising.py:It cannot be loaded: RuntimeError: no such :x: device",
        "ERROR mine.py:Killing, lstm: pullback-reference (float32, float64)",
        "ERROR mine.py:Leaving, gru-after: pullback-reference (float32, float64)",
        "FAILED fault:di-uses-i, lstm: pullback-reference (float32, float64)",
        "Broken: fault:di-uses-i, mine.py:Killing, mine.py:Leaving; not tested, or not in full: raising.py:It.",
    ):
        assert sentence in said, done.stdout
    assert "FAILED mine.py:Right" not in said and "rubbish" not in said
    assert max(len(line) for line in done.stdout.splitlines() if "  " in line) <= 80  # the table
    assert re.search(r"mine\.py:Right 1\.2 +passed +\d+ +\d+\n", done.stdout), done.stdout


def test_the_page_shows_each_law_with_its_evidence(judged):
    _, page = judged
    page.check()
    marks = dict(page.marks)
    assert marks["#mine-py-Right.lstm.pullback-reference"] == "passed"
    assert marks["#fault-di-uses-i.lstm.pullback-reference"] == "failed"
    assert not any("gru-after" in link for link in marks if "fault" in link)
    assert marks["#mine-py-Killing.lstm.pullback-reference"] == "error"
    for shown in (
        "bpttcheck verify fault:di-uses-i --law pullback-reference --dtype float64 --cell lstm --seed 1 --examples 6",
        "smallest case found",
        "planted fault di-uses-i",
        "no such :x: device",
        "(1 - z) n + z h, &lt;b&gt;as usual&lt;/b&gt;",
        "3 laws",
    ):
        assert shown in page.text
    for law in LAW_IDS:
        assert f"laws.{law}" in page.ids


def title_in_a_browser(file, place=""):
    """The title of a page once its scripts have run."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    command = [browser, "--headless", "--no-sandbox", "--window-size=1300,900", "--dump-dom", file.as_uri() + place]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    return re.search(r"<title>(.*?)</title>", seen)[1]


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_does_not_overflow(width, judged, tmp_path):
    """In a frame, because a window of Chromium is never so narrow as a phone's."""
    frame = f'<iframe style="width: {width}px; height: 900px" srcdoc="{escape(judged[1].text)}"></iframe>'
    measure = "const page = frames[0].document.documentElement; document.title = [page.clientWidth, page.scrollWidth]"
    (tmp_path / "frame.html").write_text(f"<title></title>{frame}<script>onload = () => {{ {measure} }}</script>")
    shown, needed = map(int, title_in_a_browser(tmp_path / "frame.html").split(","))
    assert width - 20 < shown <= width and needed <= shown


def test_an_address_opens_the_evidence(judged, tmp_path):
    ask = "<script>document.title = [...document.querySelectorAll('[open]')].map(e => e.id)</script>"
    (tmp_path / "page.html").write_text(judged[1].text + ask, encoding="utf-8")
    assert title_in_a_browser(tmp_path / "page.html", "#fault-di-uses-i.lstm.causality") == "fault-di-uses-i.lstm"


@pytest.mark.thorough
def test_a_target_that_hangs_is_stopped_and_a_file_joins(folder):
    """With a name that occurs twice."""
    few = (*FEW, "--cell", "lstm", "--cell", "gru-after")
    assert command("verify", "reference", "fault:di-uses-i", *few, "--json", "both.json", cwd=folder).returncode == 1
    done = command("matrix", "mine.py:Hanging", "both.json", "fault:di-uses-i", *few, "--timeout", "20", "-j", "2",
               "--html", "joined.html", cwd=folder)  # fmt: skip
    assert done.returncode == 2
    assert "NOT TESTED mine.py:Hanging: it was stopped after 20 s" in words(done.stdout)
    page = Page(folder / "joined.html")
    page.check()
    results = from_json((folder / "both.json").read_text()).targets[0].results
    by_law = {(r.cell, r.law): set() for r in results}
    for r in results:
        by_law[r.cell, r.law].add(r.status)
    marks = {tuple(link.split(".")[1:]): status for link, status in page.marks if link.startswith("#reference.")}
    assert marks.keys() == by_law.keys() and all(marks[place] in by_law[place] for place in marks)
    own = {name: [status for link, status in page.marks if link.startswith(f"#{name}.")] for name in
           ("fault-di-uses-i", "fault-di-uses-i-2")}  # fmt: skip
    assert own["fault-di-uses-i"] == own["fault-di-uses-i-2"] and "failed" in own["fault-di-uses-i"]


@pytest.mark.parametrize(("name", "text", "sentence"), [
    ("absent.json", None, "absent.json"),
    ("rubbish.json", "rubbish", "rubbish.json is no verdict: it is not JSON"),
    ("list.json", "[1]", "its schema is None; this version reads 1"),
    ("later.json", '{"schema": 2}', "its schema is 2; this version reads 1"),
    ("part.json", '{"schema": 1}', "it does not hold what `verify --json` writes"),
])  # fmt: skip
def test_a_file_that_is_no_verdict_is_refused_before_the_work(name, text, sentence, tmp_path):
    if text is not None:
        (tmp_path / name).write_text(text)
    done = command("matrix", "reference", name, cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1


def made(*statuses, target="made", interrupted=False):
    """A run with one law for each status."""
    case = Draw(1, 1, 1, 1, 1, False, False, False, True, 0.5, 0)
    results = [
        Result("made", "lstm", "float64", law.id, 3, status, 5, margin=float("inf"), reason="<why>", case=case)
        for law, status in zip(LAWS, statuses, strict=False)
    ]
    return Run(Question(seed=3, examples=7), [Record(target, "made", results=results)], interrupted)


@pytest.mark.parametrize(("run_on_file", "exit_status"), [
    (made("passed", "skipped", "vacuous", "known", "unfinished"), 0),
    (made(*STATUSES[:2]), 1),
    (made(*STATUSES), 2),
    (made("passed", "unsure"), 3),
    (made("passed", interrupted=True), 2),
])  # fmt: skip
def test_exit_statuses_and_marks(run_on_file, exit_status, tmp_path):
    (tmp_path / "v.json").write_text(to_json(run_on_file))
    done = command("matrix", "v.json", "--html", "m.html", cwd=tmp_path)
    assert done.returncode == exit_status, done.stdout + done.stderr
    page = Page(tmp_path / "m.html")
    page.check()
    assert [status for _, status in page.marks] == [result.status for result in run_on_file.targets[0].results]
    assert "<why>" not in page.text


def test_a_run_is_read_as_it_was_written():
    before = made(*STATUSES)
    assert from_json(to_json(before)) == before


def test_the_page_of_many_targets_is_small():
    def results(name):
        return [
            Result(name, cell.name, dtype, law.id, 1, "skipped" if k % 3 == 0 else "passed", 40, margin=0.0123,
                   reason="the implementation does not support window truncation" if k % 3 == 0 else "")
            for cell in CELLS for dtype in ("float32", "float64") for k, law in enumerate(LAWS)
        ]  # fmt: skip

    names = [f"library-{k}" for k in range(14)]
    page = to_html([Run(Question(seed=1), [Record(name, f"{name} 1.0", results=results(name))]) for name in names])
    assert len(page.encode()) < 1_500_000


KNOWN = '[[known-failure]]\nlaw = "pullback-reference"\nreason = "one of a kind"\n'
EACH = KNOWN + 'cell = "lstm"\n' + KNOWN + 'cell = "rnn-tanh"\n'


@pytest.mark.parametrize(("entries", "exit_status", "said"), [
    (EACH, 0, "known fault:di-uses-i, lstm: pullback-reference (float64)"),
    (EACH + KNOWN + 'cell = "rnn-tanh"\ntarget = "fault:di-uses-i"\n', 1, "it matches nothing; remove it"),
])  # fmt: skip
def test_known_failures(entries, exit_status, said, tmp_path):
    """An entry that a single target meets is met."""
    (tmp_path / "known.toml").write_text(entries)
    chosen = ("--law", "pullback-reference", "--cell", "lstm", "--cell", "rnn-tanh", "--dtype", "float64")
    done = command("matrix", "fault:di-uses-i", "fault:rnn-no-carry", *chosen, "--examples", "4", "--seed", "1",
               "--known-failures", "known.toml", cwd=tmp_path)  # fmt: skip
    assert done.returncode == exit_status and said in words(done.stdout), done.stdout


def test_a_cell_that_some_targets_lack_is_left_out_and_one_that_all_lack_is_a_mistake(tmp_path):
    selected = ("--cell", "gru-after", "--law", "causality", "--examples", "4")
    done = command("matrix", "reference", "fault:di-uses-i", *selected, cwd=tmp_path)
    assert done.returncode == 0 and "fault:di-uses-i: nothing ran" in done.stdout, done.stdout + done.stderr
    done = command("matrix", "fault:di-uses-i", *selected, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == "bpttcheck: no target has the cell 'gru-after'\n"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_processes_and_keeps_finished_results(sent, folder, tmp_path):
    shutil.copy(folder / "mine.py", tmp_path)
    targets = ("reference", "mine.py:Hanging", "mine.py:Killing")
    with started("matrix", *targets, *FEW, "--cell", "lstm", "--html", "m.html", cwd=tmp_path) as running:
        assert "3 targets" in running.stdout.readline() and "reference: ran" in running.stdout.readline()
        with subprocess.Popen(["sh", "-c", "until [ -s pid ]; do sleep 0.2; done"], cwd=tmp_path) as waiting:
            assert waiting.wait(timeout=60) == 0
        os.killpg(running.pid, sent)
        said, _ = running.communicate(timeout=60)
        assert gone(int((tmp_path / "pid").read_text()))
    assert running.returncode == 130
    assert "interrupted: the matrix so far" in said
    assert "NOT TESTED mine.py:Hanging: interrupted" in said
    assert "NOT TESTED mine.py:Killing: interrupted before its turn" in said
    marks = dict(Page(tmp_path / "m.html").marks)
    assert marks["#reference.lstm.pullback-reference"] == "passed"


def test_without_jinja_a_page_is_refused_before_the_work(tmp_path):
    hidden = "import sys; sys.modules['jinja2'] = None; from bpttcheck.command_line import main; main()"
    line = [sys.executable, "-c", hidden, "matrix", "reference", "--html", "m.html"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.strip() == "bpttcheck: a page needs Jinja: python -m pip install 'bpttcheck[html]'"


def test_the_published_page_passes_its_checks():
    file = Path(__file__).parents[2] / "docs" / "side-by-side.html"
    if not file.is_file():
        pytest.skip("docs/side-by-side.html is made by tox -e matrix")
    Page(file).check()


def test_broken_laws_come_first_with_a_sentence_and_a_link(tmp_path):
    """Before any table, by the reason that the known failure gives."""
    (tmp_path / "known.toml").write_text(KNOWN + 'link = "https://example.org/issues/7"\n')
    chosen = ("--law", "pullback-reference", "--law", "causality", "--dtype", "float64", "--examples", "4")
    done = command("matrix", "reference", "fault:di-uses-i", *chosen, "--cell", "lstm", "--seed", "1",
                   "--known-failures", "known.toml", "--html", "m.html", "--png", "m.png", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr  # the reference passes
    page = Page(tmp_path / "m.html")
    page.check()
    first = page.text[page.text.index('id="broken"') : page.text.index('id="judged"')]
    assert "one of a kind" in first and 'href="https://example.org/issues/7"' in first
    assert 'href="#fault-di-uses-i.lstm.pullback-reference"' in first and "causality" not in first
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def test_a_link_that_is_a_script_is_left_out():
    run = made("known")
    (result,) = run.targets[0].results
    result.known = (("<b>so it is</b>", "javascript:alert(1)"),)
    page = to_html([run])
    assert "&lt;b&gt;so it is" in page and "javascript" not in page


def test_known_failures_are_seen_first_in_the_picture(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: python -m pip install '.[plots]'")
    from bpttcheck.reporting.matrix import picture

    figures = []
    monkeypatch.setattr(picture, "new_figure", lambda *size: figures.append(new_figure(*size)) or figures[-1])
    picture.draw_matrix(tmp_path / "m.png", [made("known", "passed", "passed", target="one"), made("passed")])
    (axes,) = figures[0].axes
    of_known, of_passed = (next(p for p in axes.patches if p.get_xy() == (-0.5, y - 0.5)) for y in (0, 1))
    assert contrast(of_known) > 3 > 1.5 > contrast(of_passed)
    assert [text.get_text() for text in axes.texts] == ["1", "1"]  # laws of one family


def contrast(patch):
    """Of a patch to white, as WCAG has it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in patch.get_facecolor()[:3]]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_the_links_of_published_known_failures_lead_somewhere():
    from ..docs.pages import anchors

    docs = Path(__file__).parents[2] / "docs"
    if not docs.is_dir():
        pytest.skip("the documentation is not here")
    for entry in tomllib.loads((docs / "known-failures.toml").read_text())["known-failure"]:
        page, _, place = entry["link"].partition("#")
        assert "://" in page or place in anchors(docs / page), entry["link"]
