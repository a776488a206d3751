"""The verdict as one page."""

import re
import shutil
import subprocess
import sys

import pytest

from ..programs import command

pytest.importorskip("jinja2", reason="jinja2 is not installed: python -m pip install '.[html]'")
FAULTY = ("verify", "fault:not-detached", "--law", "regular-reference", "--law", "xray-regular", "--law", "causality",
          "--dtype", "float64", "--examples", "24", "--seed", "1", "--html", "v.html")  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    done = command(*FAULTY, cwd=folder)
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.split())
    assert "seen through x: no weighting of full BPTT: the cell state is not cut" in said
    return folder / "v.html"


def test_it_lists_failures_and_how_to_repeat_them(page):
    text = page.read_text(encoding="utf-8")
    assert "<h1>Broken: fault:not-detached</h1>" in text
    for said in ("smallest case found", "Diagnosis: ", "planted fault not-detached", "/replay.py", "X-ray of Regular"):
        assert said in text
    assert text.count('class="passed"') == 1 and text.count('<td class="failed"') == 2


def test_it_begins_with_the_diagnosis(page):
    text = page.read_text(encoding="utf-8")
    assert text.index("Diagnosis: ") < text.index("regular-reference") < text.index("What was run")


def test_it_needs_no_network(page):
    assert not re.findall(r"(?:src|href|url)\s*[=(]", page.read_text(encoding="utf-8"))


def test_texts_of_others_are_no_markup(tmp_path):
    """A name with markup in it is shown, not obeyed."""
    (tmp_path / "mine.py").write_text(
        "from bpttcheck.adapters.reference import Reference\n"
        "class Mine(Reference):\n    name = '<script>alert(1)</script>'\n"
    )
    done = command("verify", "mine.py:Mine", "--law", "causality", "--cell", "lstm", "--examples", "8", "--seed", "1",
               "--html", "v.html", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "v.html").read_text(encoding="utf-8")
    assert "No law that ran is broken" in text and "<script>" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize("size", ["400,900", "1200,900"])
def test_a_browser_opens_it(size, page):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    command = [browser, "--headless", "--no-sandbox", f"--window-size={size}", "--dump-dom", page.as_uri()]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    assert "<title>Broken: fault:not-detached</title>" in seen and seen.rstrip().endswith("</html>")


def test_without_jinja_a_page_is_refused_before_the_work(tmp_path):
    hidden = "import sys; sys.modules['jinja2'] = None; from bpttcheck.command_line import main; main()"
    line = [sys.executable, "-c", hidden, "verify", "reference", "--html", "v.html"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.strip() == "bpttcheck: a page needs Jinja: python -m pip install 'bpttcheck[html]'"
