"""The page of the benchmarks' history: its marks, its layout, and its look in a browser."""

import ast
import html
import json
import random
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

for library in ("asv", "plotly", "jinja2"):
    pytest.importorskip(library, reason=f"{library} is not installed: python -m pip install --group bench")

BENCH = next(folder for folder in Path(__file__).parents if (folder / "asv_bench/history.py").exists()) / "asv_bench"
sys.path.append(str(BENCH))

from asv_runs import RESULTS, Cell, measured  # noqa: E402
from limits import Limit  # noqa: E402
from marks import marks  # noqa: E402
from page import Commit, write_page  # noqa: E402
from series import all_series  # noqa: E402
from strategies import WINDOWS, answers  # noqa: E402

KNOWN = json.loads((RESULTS / "benchmarks.json").read_text())
OLDEST_FIRST = list(measured(RESULTS, "reference-machine").values())[::-1]
STORED = all_series(OLDEST_FIRST, KNOWN)
THEORY, TIME = "memory.Theory.track_peak_over_theory", "speed.Gradient.time_gradient"
STRATEGIES, CELLS = ("full", "regular", "random"), ("rnn", "lstm", "gru")
EXACT, TIMED = Limit("", 1.02, 0.02, exact=True), Limit("", 1.10, 0, exact=False)


@pytest.mark.parametrize(
    ("readings", "at"),
    [
        ([1.0, 1.0, 1.5, 1.5], [2]),
        ([1.0, 1.0, 0.9, 0.9], [2]),
        ([1.0, 1.015, 1.03, 1.045], []),  # by no more than the limit, each time
        ([1.0, None, 1.5], [2]),
        ([1.0, 1.0, 1.5, 1.0], [2, 3]),
        ([0.1, 0.11], []),  # by ratio and not by amount
        ([], []),
    ],
)
def test_an_exact_number_is_marked_where_it_moves_beyond_its_limit(readings, at):
    assert [mark.at for mark in marks(readings, EXACT)] == at


@pytest.mark.parametrize(
    ("readings", "at"),
    [
        ([1.00, 1.01, 1.00, 1.30, 1.31, 1.30], [3]),
        ([1.30, 1.31, 1.30, 1.00, 1.01, 1.00], [3]),
        ([1.00, 1.01, None, 1.30, 1.31, 1.30], [3]),
        ([1.00, 1.01, 1.00, 1.30, 1.00, 1.01], []),  # an outlier
        ([1.00, 1.01, 1.00, 1.01, 1.00, 1.30], []),  # nothing after it
        ([1.00, 1.30, 1.31, 1.30, 1.31, 1.30], []),  # one reading before it
        ([1.00, 1.01, 1.00, 1.01, 1.00, 1.01, 1.30, 1.00, 1.30], []),  # it goes back
        ([1.00, 1.01, 1.00, 1.01, 1.00, 1.30, 1.31, 1.32, 1.33], [5]),  # and not at the next one, too
        ([1.00, 1.01, 1.00, 1.06, 1.07, 1.06], []),  # less than the limit
        ([1.00, 1.20, 1.00, 1.30, 1.50, 1.35], []),  # less than its noise
        ([1.0], []),
    ],
)
def test_a_timed_number_is_marked_where_it_stays_beyond_its_noise(readings, at):
    assert [mark.at for mark in marks(readings, TIMED)] == at


def test_pure_noise_is_rarely_marked():
    """17 readings with 8 % of noise and no limit, as of a series that is not gated: at most 1 line in 50."""
    rng = random.Random(0)
    lines = [[rng.lognormvariate(0, 0.08) for _ in range(17)] for _ in range(2000)]
    assert 0 < sum(bool(marks(line, None)) for line in lines) <= 40


def history(number=6):
    """Commits with an exact series that falls only in rnn, at the third of them, and a timed one that does not move."""
    found = {}
    for at in range(number):
        cells = {Cell(THEORY, (repr(s), repr(c))): 2.0 for s in STRATEGIES for c in CELLS}
        cells |= {Cell(TIME, (repr(s), repr(c))): 0.001 + 1e-6 * (at % 2) for s in STRATEGIES for c in CELLS}
        if at >= 2:
            cells[Cell(THEORY, ("'regular'", "'rnn'"))] = 1.5
        found[Commit(at + 1, f"{at:07x}", "2026-01-01", f"Line {at + 1} of <the log>")] = cells
    return found


def drawn(path, found):
    write_page(path, found, KNOWN)
    return path.read_text(encoding="utf-8")


def section(page, series):
    [found] = re.findall(rf'<section class="series" id="{series}">(.*?)</section>', page, re.DOTALL)
    return found


def test_the_first_line_of_a_commit_stands_at_its_mark_and_no_other_is_marked(tmp_path):
    page = drawn(tmp_path / "page.html", history())
    marked = re.findall(r'<li class="marked" style.*?</li>', section(page, THEORY))
    assert marked and all("<b>3</b>" in row and "Line 3 of &lt;the log&gt;</span>" in row for row in marked)
    assert all(">−25\N{NARROW NO-BREAK SPACE}%<" in row for row in marked)
    assert 'class="marked"' not in section(page, TIME)
    [in_the_log] = re.findall(r'<li id="commit-(\d+)" class="marked">', page)
    assert in_the_log == "3"


def test_each_commit_stands_next_to_each_curve(tmp_path):
    page = drawn(tmp_path / "page.html", history())
    lists = re.findall(r'<ol class="rows".*?</ol>', page, re.DOTALL)
    assert lists and all(f"Line {k} of" in rows for rows in lists for k in range(1, 7))


def test_exact_and_timed_series_are_apart(tmp_path):
    page = drawn(tmp_path / "page.html", history())
    places = [page.index(f'id="{name}"') for name in ("exact", THEORY, "timed", TIME)]
    assert places == sorted(places)


def test_a_panel_holds_one_cell_and_a_line_for_each_strategy(tmp_path):
    [theory, time] = all_series(list(history().values()), KNOWN)
    for series in (theory, time):
        assert [panel.title for panel in series.panels] == list(CELLS)
        assert [[line.label for line in panel.lines] for panel in series.panels] == [list(STRATEGIES)] * 3
    page = drawn(tmp_path / "page.html", history())
    assert re.findall("<figcaption>(.*?)</figcaption>", section(page, TIME)) == list(CELLS)


def test_series_that_never_changed_are_a_table(tmp_path):
    shown = section(drawn(tmp_path / "page.html", history()), THEORY)
    assert re.findall("<figcaption>(.*?)</figcaption>", shown) == ["rnn"]
    assert "Unchanged at all 6 commits" in shown and re.findall("<td>(2?)", shown) == [""] + ["2"] * 6


def test_each_title_is_one_sentence():
    everything = {Cell(name, p): 1.0 for name, about in KNOWN.items() if name != "version" for p in [parameters(about)]}
    for series in all_series([everything], KNOWN):
        assert re.fullmatch(r"[A-Z][^.]*(\.\d[^.]*)*\.", series.title), series


def parameters(about):
    return tuple(choices[0] for choices in about["params"])


def test_the_strategies_are_answered_in_one_picture(tmp_path):
    stored = measured(RESULTS, "reference-machine")
    found = answers(next(iter(stored.values())))
    assert len(found) == 3
    for answer in found:
        assert [number.label for number in answer.numbers][:3] == list(STRATEGIES)
        assert {trace["name"] for trace in answer.figure["data"]} == {number.label for number in answer.numbers}
    assert not answers({})


def test_the_windows_equal_the_ones_of_the_benchmarks():
    for module, window in WINDOWS.items():
        tree = ast.parse((BENCH / "benchmarks" / f"{module}.py").read_text())
        tuples = [n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Tuple)]
        set_here = {k.id: v for n in tuples for k, v in zip(n.targets[0].elts, n.value.elts, strict=True)}
        assert set_here["WINDOW"].value == window


def test_numbers_of_another_version_are_not_joined(tmp_path):
    shutil.copytree(RESULTS, tmp_path / "results")
    newest = next(iter(measured(RESULTS, "reference-machine")))
    [file] = (tmp_path / "results/reference-machine").glob(f"{newest[:8]}-*.json")
    result = json.loads(file.read_text())
    result["results"][THEORY][result["result_columns"].index("version")] = "another"
    file.write_text(json.dumps(result))
    oldest_first = list(measured(tmp_path / "results", "reference-machine").values())[::-1]
    [series] = [series for series in all_series(oldest_first, KNOWN) if series.name == THEORY]
    assert all(line.readings[-1] is None for panel in series.panels for line in panel.lines)
    assert all(line.readings[-2] is not None for panel in series.panels for line in panel.lines)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Nothing of this is in the page itself: it is put into a copy, which says how it looks to the page around it.
ERRORS = (
    "<script>var errors = []; addEventListener('error', e => errors.push(e.message || e.target.src), true);</script>"
)
FACTS = """<script type="module">
  const undrawn = () => [...document.querySelectorAll(".plot")].some(plot => !plot.querySelector(".main-svg"));
  while (undrawn()) await new Promise(done => setTimeout(done, 20));
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const box = element => element.getBoundingClientRect().toJSON();
  const seen = (selector, inside) => all(selector, inside).filter(element => element.getClientRects().length);
  parent.postMessage({
    errors, width: innerWidth, needed: document.documentElement.scrollWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    resources: performance.getEntriesByType("resource").map(entry => entry.name),
    headings: all("h1, h2").map(heading => heading.textContent), series: all(".series").map(one => one.id),
    keys: seen(".key, .numbers").map(key => [key.scrollWidth - key.clientWidth, box(key).left, box(key).right]),
    text: getComputedStyle(document.querySelector(".xtick text")).fill,
    ground: getComputedStyle(document.body).backgroundColor,
    plots: seen(".plot").map(plot => ({box: box(plot), curves: all(".scatterlayer .trace", plot).length,
      ticks: seen(".xtick text", plot).map(box), bands: all(".shapelayer path", plot).map(box)})),
    cut: seen(".rows .marked").filter(row => row.scrollHeight > row.clientHeight).length,
    lists: seen(".rows").map(rows => all(".marked", rows).map(box)),
  }, "*");
</script>"""
AROUND = """<!doctype html>
<style>:root, iframe {color-scheme: light dark} iframe {width: %dpx; height: 900px; border: 0}</style>
<script>addEventListener("message", ({data}) => document.body.append(JSON.stringify(data)))</script>
<iframe src="page.html"></iframe>"""


@pytest.fixture(scope="module")
def stored_page(tmp_path_factory):
    """The history that comes with the repository, under first lines of our own: there may be no git here."""
    path = tmp_path_factory.mktemp("stored") / "page.html"
    lines = [f"{'A first line that says at some length what was done' if k % 2 else 'Short'} {k}" for k in range(99)]
    numbered = enumerate(zip(OLDEST_FIRST, lines, strict=False), 1)
    page = drawn(path, {Commit(k, f"{k:07x}", "2026-01-01", line): cells for k, (cells, line) in numbered})
    path.write_text(page.replace("<style>", ERRORS + "<style>", 1).removesuffix("</html>") + FACTS, "utf-8")
    return path


def seen_by_chromium(page, width, dark):
    """The text that the copy of the page gives when it is opened in a frame of this width, without a network."""
    around = page.with_name("around.html")
    around.write_text(AROUND % width, "utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={page.parent / 'profile'}"]
    options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--window-size={max(width, 500)},900"]
    options += ["--enable-logging=stderr", "--virtual-time-budget=30000", "--dump-dom", around.as_uri()]
    done = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=300)
    assert ":CONSOLE" not in done.stderr, done.stderr
    said = re.search(r"</iframe>\s*(\{.*\})", done.stdout, re.DOTALL)
    assert said, done.stderr
    return json.loads(html.unescape(said[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page(stored_page, width, dark):
    seen = seen_by_chromium(stored_page, width, dark)
    assert (seen["width"], seen["dark"], seen["errors"], seen["resources"]) == (width, dark, [], [])
    assert (seen["needed"] <= width, seen["cut"]) == (True, 0)
    assert len(seen["headings"]) == 7 and sorted(seen["series"]) == sorted({series.name for series in STORED})
    assert all(over <= 0 and left >= 0 and right <= width for over, left, right in seen["keys"])
    for plot in seen["plots"]:
        assert plot["curves"] and plot["box"]["left"] >= 0 and plot["box"]["right"] <= width
        left, right = (plot["box"][side] for side in ("left", "right"))
        assert len(plot["ticks"]) > 1
        assert [tick for tick in plot["ticks"] if tick["left"] < left or tick["right"] > right] == []
        assert all(one["right"] < other["left"] for one, other in pairwise(plot["ticks"])), plot
    assert contrast(seen["text"], seen["ground"]) >= 4.5


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_bands_lie_at_the_rows_of_their_commits(stored_page):
    seen = seen_by_chromium(stored_page, 390, False)
    panels = seen["plots"][3:]  # above them are the three answers
    assert len(seen["lists"]) == len(panels)
    assert any(plot["bands"] for plot in panels)
    for rows, plot in zip(seen["lists"], panels, strict=True):
        tops = [sorted(box["top"] for box in boxes) for boxes in (rows, plot["bands"])]
        assert tops[0] == pytest.approx(tops[1], abs=2)


def contrast(one, other):
    """The ratio of two CSS colours' luminances, as the WCAG define it."""
    high, low = sorted((luminance(colour) for colour in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour):
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
