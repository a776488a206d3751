"""The campaign of false alarms: cases that are measured together have the same results as each on its own."""

import sys
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bpttcheck.cases.drawing import Draw
from bpttcheck.laws.law import Asked
from bpttcheck.measuring.calls import capabilities_of
from bpttcheck.measuring.scales import measure
from bpttcheck.targets import cell_named, load

sys.path.insert(0, str(Path(__file__).parents[2] / "asv_bench"))
import false_alarms as campaign  # noqa: E402


class Here(Executor):
    """A pool that does the work in this process, at once."""

    def submit(self, work, *given):
        future = Future()
        future.set_result(work(*given))
        return future


@pytest.fixture
def small(monkeypatch):
    """Small batches."""
    monkeypatch.setattr(campaign, "BATCH", 40)
    monkeypatch.setattr(campaign, "IN_FULL", 8)


def asked(target, cell, dtype):
    subject = load(target)
    capabilities = capabilities_of(subject)
    return Asked(subject, capabilities, cell_named(subject, cell), dtype, capabilities)


@pytest.mark.parametrize("options", [
    {},
    {"ragged": True, "layers": 2, "bidirectional": True},
    {"tokens": True},
    {"resets": True},
    {"remembers": True, "T": 61},
], ids=str)  # fmt: skip
@pytest.mark.parametrize(("cell", "dtype"), [("lstm", "float32"), ("gru-before", "float64")])
def test_measuring_together_changes_no_result(cell, dtype, options):
    """The numbers are the same; the scale of error is another sample of it."""
    usual = dict.fromkeys(("bidirectional", "ragged", "tokens", "rounded"), False)
    sizes = {"T": 5, "B": 3, "D": 4, "H": 6, "layers": 1, "weight_scale": 0.5, "seed": 0}
    draw = Draw(**{**sizes, **usual, **options})
    trials = campaign.measured_together(asked("reference", cell, dtype), draw, np.random.default_rng(1), 6)
    assert len(trials) >= 2
    ratios = []
    for trial in trials:
        (alone,) = measure(trial.case, trial.cotangents, replicates=8)
        assert trial.measured.values.keys() == alone.values.keys()
        for name, value in alone.values.items():
            assert np.allclose(trial.measured.values[name], value, rtol=1e-9, atol=1e-12 * np.abs(value).max(initial=0))
            ratios += [trial.measured.spread[name].max() / alone.spread[name].max()] * bool(alone.spread[name].any())
    assert 1 / 8 < np.exp(np.mean(np.log(ratios))) <= 1


def test_only_an_incorrect_implementation_raises_alarms(small):
    right = campaign.run_batch("reference", "gru-after", "float32", 0)
    assert right["cases"] == 40 and right["alarms"] == [] and right["laws"]["pullback-reference"] > 30
    wrong = campaign.run_batch("fault:gru-bias-copied", "gru-after", "float32", 0)
    assert sum("pullback-reference" in alarm for alarm in wrong["alarms"]) > 10


def test_it_goes_on_where_it_was_interrupted(small, tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "workers", lambda *_: nullcontext((Here(), None)))
    log, page = tmp_path / "log.jsonl", tmp_path / "page.md"
    line = ["fault:gru-bias-copied", "--cases", "40", "--log", str(log), "--markdown", str(page)]

    def run():
        return CliRunner().invoke(campaign.main, line).exit_code, campaign.read(log)

    status, done = run()
    assert status == 1 and len({(batch["dtype"], batch["batch"]) for batch in done}) == len(done) == 2
    log.write_text(log.read_text()[:-20])
    status, again = run()
    assert status == 1 and [{**batch, "seconds": 0} for batch in again] == [{**batch, "seconds": 0} for batch in done]
    assert f"{sum(batch['cases'] for batch in done):,} cases" in page.read_text()
