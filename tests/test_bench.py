"""The bench measures the loop's own step, and its table has everything that it promises."""

import pytest
import torch

from mlsan.bench import NAMES, Step, shown, table
from mlsan.corpus import open_corpora
from mlsan.training import begin, run_settings
from mlsan.training.loop import train_epoch


def test_a_row_has_time_memory_stages_and_ratio():
    found = table("smoke", ("MultiEMO", "BC-LSTM"), ("MELD",), repeats=1)
    assert list(found["system"]) == ["MultiEMO", "BC-LSTM"] * (1 + 2 * torch.cuda.is_available())
    assert set(NAMES) | {"dialogues", "utterances"} <= set(found)
    assert (found[["step s", "utterances/s", "peak GB"]] > 0).all(axis=None)
    stages = found.filter(regex="^% ")
    assert {"% data", "% context", "% fusion", "% losses", "% backward", "% optimiser"} <= {*stages}
    assert stages.sum(axis=1).tolist() == pytest.approx([100.0] * len(found))
    first, other = found["times the reference's speed"][:2]
    assert first > 0
    assert other != other, "only MultiEMO is compared"
    assert "backward" in shown(found).splitlines()[2]


@pytest.mark.parametrize("benchmark", ["MELD", "IEMOCAP"])
def test_the_step_is_that_of_training(benchmark, tmp_path):
    run = run_settings(benchmark, "smoke", "ML-SAN", 0)
    # One dialogue, which the loop cannot put in another order.
    step = Step(run, "smoke", 1)
    step()
    corpus = open_corpora("sim", "smoke", None, tmp_path)[benchmark]
    state = begin(run, corpus)
    train_epoch(run, state, step.dialogues, step.speakers, step.weight)
    trained = dict(state.model.named_parameters())
    for name, weight in step.state.model.named_parameters():
        torch.testing.assert_close(weight, trained[name], msg=name)


def test_timing_by_stage_changes_no_weight():
    run = run_settings("MELD", "smoke", "ML-SAN", 0, modality_dropout=0.2)
    plain, timed = Step(run, "smoke"), Step(run, "smoke")
    plain()
    shares = timed.shares(repeats=1)
    assert set(shares) >= {"% data", "% losses", "% backward", "% optimiser"}
    for one, other in zip(
        plain.state.model.parameters(), timed.state.model.parameters(), strict=True
    ):
        assert torch.equal(one, other)
