"""Pictures for people: colours, labels, panels for a slide, and nothing that squeezes the curves."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from bpttcheck.adapters.reference import Reference
from bpttcheck.studies import gradients_report
from bpttcheck.studies.gradients import Setting, analyse
from bpttcheck.studies.gradients_report import PANELS, draw_analyses
from bpttcheck.studies.pictures import COLOURS, MARKERS, explain_lines, new_panels, shades
from bpttcheck.studies.strategies import pictures
from bpttcheck.studies.strategies.findings import Curves, Findings
from bpttcheck.studies.strategies.study import Study
from bpttcheck.studies.strategies.training import Model
from bpttref import LSTM, RNN

pytest.importorskip("matplotlib", reason="matplotlib is not installed: python -m pip install '.[plots]'")
SETTING = Setting(length=24, units=4, inputs=3)
LINEAR_TO_LMS = np.array([[0.3139, 0.6395, 0.0466], [0.1553, 0.7579, 0.0867], [0.0178, 0.1094, 0.8726]])
DICHROMATS = {  # Vienot, Brettel and Mollon, 1999: the missing cone's answer from the two others
    "protan": np.array([[0, 1.0512, -0.0512], [0, 1, 0], [0, 0, 1]]),
    "deutan": np.array([[1, 0, 0], [0.9513, 0, 0.0487], [0, 0, 1]]),
    "tritan": np.array([[1, 0, 0], [0, 1, 0], [-0.8674, 1.8673, 0]]),
}


def seen(colour, missing):
    """A colour in CIELAB as somebody sees it who lacks a kind of cone, or none."""
    from matplotlib.colors import to_rgb

    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)])
    if missing:
        linear = np.linalg.inv(LINEAR_TO_LMS) @ DICHROMATS[missing] @ LINEAR_TO_LMS @ linear
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear.clip(0, 1)
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def told_apart(colours):
    """The smallest difference of two colours for anybody, in units of which about 2 are just visible side by side."""
    pairs = combinations(colours, 2)
    return min(np.linalg.norm(seen(a, who) - seen(b, who)) for a, b in pairs for who in (None, *DICHROMATS))


def test_the_colour_blind_can_distinguish_lines():
    assert told_apart(["tab:green", "tab:red", "tab:brown"]) < 15  # an example to avoid
    assert told_apart([*COLOURS[:4], "black"]) > 20
    assert len(set(MARKERS)) == len(COLOURS)


def test_shades_go_one_way():
    """More is darker for everybody, and cut entries are lighter than the least."""
    colours = [shades()(x) for x in np.linspace(0, 1, 9)]
    for who in (None, *DICHROMATS):
        lightness = [seen(colour, who)[0] for colour in colours]
        assert all(np.diff(lightness) < -2)
        assert seen(shades()(-1.0), who)[0] > lightness[0] + 5


@pytest.fixture(scope="module")
def analyses():
    return [analyse(Reference(), cell, SETTING) for cell in (RNN("tanh"), LSTM())]


def drawn(monkeypatch, analyses, panel):
    """The panels of a picture that is drawn."""
    made = []
    monkeypatch.setattr(gradients_report, "new_panels", lambda *given: made.append(new_panels(*given)) or made[-1])
    draw_analyses([], "reference", SETTING, analyses, panel)
    return made[0]


@pytest.mark.parametrize("panel", [None, *PANELS])
def test_axes_and_lines_are_explained(panel, analyses, monkeypatch):
    figure, panels = drawn(monkeypatch, analyses, panel)
    assert list(panels) == ([panel] if panel else list(PANELS))
    explained = {text.get_text() for text in figure.legends[0].get_texts()}
    for axes in panels.values():
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
        assert {line.get_label() for line in axes.lines if not line.get_label().startswith("_")} <= explained


def test_a_single_panel_has_larger_letters(analyses, monkeypatch):
    """Letters are as large as in the whole picture, on a figure that is half as wide."""
    whole, _ = drawn(monkeypatch, analyses, None)
    alone, _ = drawn(monkeypatch, analyses, "norms")
    assert alone.get_figwidth() < 0.6 * whole.get_figwidth() and alone.dpi > 1.5 * whole.dpi


def test_a_bound_does_not_squeeze_the_curves(analyses, monkeypatch):
    analyses = [replace(analyses[0], bound=1e9), analyses[1]]
    _, panels = drawn(monkeypatch, analyses, "norms")
    low, high = np.log10(panels["norms"].get_ylim())
    curves = [line.get_ydata() for line in panels["norms"].lines if line.get_label() in ("rnn-tanh", "lstm")]
    spread = np.log10(max(c.max() for c in curves)) - np.log10(min(c.min() for c in curves))
    assert spread > 0.7 * (high - low)


def test_a_panel_that_is_not_there_is_one_sentence():
    with pytest.raises(ValueError, match="there is no panel 'c'; there are a, b"):
        new_panels([["a", "b"]], 1, 1, "c")


def test_a_line_of_several_panels_is_explained_once():
    figure, panels = new_panels([["a", "b"]], 4, 2)
    for axes in panels.values():
        axes.plot([0, 1], label="the same")
    explain_lines(figure, 2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the same"]


@pytest.fixture
def found():
    """Two seeds of which regular truncation ends 0.1 above full BPTT at equal steps, and random 0.1 below; regular
    takes twice the time."""
    step = np.arange(5)
    losses, seconds = np.array([3.0 - 0.2 * step, 3.5 - 0.2 * step]), np.array([step, step]) / 1.0
    study = Study(Model("lstm", 12, 4, 6), (3,), steps=4, rate=1, seeds=2, little=200, minibatches=4, seed=0)
    full, regular, random = study.contenders
    curves = {
        full: Curves(step, seconds, losses, losses),
        regular: Curves(step, 2 * seconds, losses, losses + 0.1),
        random: Curves(step, seconds, losses, losses - 0.1),
    }
    return Findings(study, curves, {c: curves[c] for c in (full, regular)}, {}, {})


@pytest.mark.parametrize(("panel", "late"), [("steps-3", 0.1), ("seconds-3", 0.5)])
def test_learning_curves_are_differences_to_full_bptt(panel, late, found, tmp_path, monkeypatch):
    """After four seconds regular truncation, which takes twice as long, is where it was after two steps."""
    made = []
    monkeypatch.setattr(pictures, "new_panels", lambda *given: made.append(new_panels(*given)) or made[-1])
    pictures.draw_training(tmp_path / "t.png", found, panel)
    ((_, panels),) = made
    lines = {line.get_label(): line.get_ydata() for line in panels[panel].lines}
    assert np.allclose(lines["random"], -0.1) and np.allclose(lines["full"], 0)
    assert np.isclose(lines["regular"][-1], late)


def test_each_panel_of_a_study_has_labels(found, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(pictures, "new_panels", lambda *given: made.append(new_panels(*given)) or made[-1])
    pictures.draw_training(tmp_path / "t.png", found)
    figure, panels = made[0]
    assert list(panels) == ["steps-3", "seconds-3", "end", "overfitting"]
    assert all(axes.get_xlabel() and axes.get_ylabel() for axes in panels.values())
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"regular", "random", "full"}
