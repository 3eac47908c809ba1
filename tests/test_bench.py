"""The bench measures the loop's own step, and its table has everything that it promises."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mlsan.bench import NAMES, Step, main, shown, table
from mlsan.corpus import open_corpora
from mlsan.published import MODULES, PublishedCodeError
from mlsan.training import begin, run_settings
from mlsan.training.loop import train_epoch

# Stands for a checkout of the published code: takes what that takes, and computes with our model.
MODEL = """
import torch
from mlsan.corpus import Batch
from mlsan.model import build_model
from mlsan.model.checkpoints import load_published
from mlsan.model.interface import Sizes
from mlsan.model.multiemo import MultiEMOSettings

class MultiEMO(torch.nn.Module):
    def __init__(self, dataset, multi_attn_flag, roberta_dim, hidden_dim, dropout, num_layers,
                 model_dim, num_heads, D_m_audio, D_m_visual, D_g, D_p, D_e, D_h,
                 n_classes, n_speakers, listener_state, context_attention, D_a, dropout_rec,
                 device):
        super().__init__()
        both, d = dataset == "IEMOCAP", model_dim
        settings = MultiEMOSettings(d=d, heads=num_heads, layers=num_layers,
            feedforward=hidden_dim, classifier=d if both else 2 * d, bidirectional=both,
            text_context=both, mask_padding=False)
        sizes = {"text": roberta_dim, "audio": D_m_audio, "visual": D_m_visual}
        self.inner = build_model(settings, Sizes(sizes, 9, n_classes, 1), 1)
    def state_dict(self):
        return {}
    def load_state_dict(self, state):
        load_published(self.inner, state)
    def forward(self, texts, audios, visuals, roles, mask, padded_labels):
        feature = {"text": texts, "audio": audios, "visual": visuals}
        label, mask = padded_labels.view(len(mask), -1).T, mask.T.bool()
        length = tuple(mask.sum(0).tolist())
        out = self.inner(Batch(feature, roles.argmax(2), 0 * label, label, mask, length))
        return *out.fused.values(), out.z, out.logits
"""
SWFC = """
from mlsan.model.losses import swfc

class SampleWeightedFocalContrastiveLoss:
    def __init__(self, temp_param, focus_param, sample_weight_param, dataset, counts, device):
        self.temp_param, self.focus_param = temp_param, focus_param
    def __call__(self, features, labels):
        return swfc(features, labels, self.class_weights, self.temp_param, self.focus_param)
"""
HGR = """
from mlsan.model.losses import soft_hgr

class SoftHGRLoss:
    def __call__(self, *fused):
        return soft_hgr(list(fused))
"""


def checkout(folder: Path, **changes: str) -> Path:
    """A folder in the layout of the published code; `changes` replace modules."""
    sources = {"MultiEMO_Model": MODEL, "SampleWeightedFocalContrastiveLoss": SWFC}
    sources |= {"SoftHGRLoss": HGR, **changes}
    for part, modules in MODULES.items():
        (folder / part).mkdir(parents=True)
        for module in modules:
            (folder / part / f"{module}.py").write_text(sources.get(module, ""))
    return folder


def test_a_row_has_time_memory_stages_and_ratio():
    found = table("smoke", ("MultiEMO", "BC-LSTM"), ("MELD",), repeats=1)
    assert list(found["system"]) == ["MultiEMO", "BC-LSTM"] * (1 + 2 * torch.cuda.is_available())
    assert set(NAMES) | {"dialogues", "utterances"} <= set(found)
    assert (found[["step s", "utterances/s", "peak GB"]] > 0).all(axis=None)
    arithmetic = found["GFLOP"] / found["product GFLOP/s"]
    assert (found["step s"] / arithmetic).tolist() == pytest.approx(
        found["times its arithmetic"].tolist()
    )
    assert not found.filter(like="published").size
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


def by_hand(step: Step) -> int:
    """Additions and multiplications in MultiEMO's products for one dialogue of n utterances."""
    s, model, n, d = step.run.model, step.state.model, len(step.dialogues[0]), step.run.model.d
    raw = sum(layer.in_features for layer in model.project.values())
    spoken = len(model.spoken)
    # GRU cells of 2d + d, 2d + d and d + d inputs and 3d gates.
    context = spoken * (1 + s.bidirectional) * 24 * d * d
    context += s.bidirectional * spoken * 2 * d * d
    # Twice query, key, value and output, scores and sums; then the feed-forward block.
    fusion = 3 * s.layers * (2 * (4 * d * d + 2 * n * d) + 2 * d * s.feedforward)
    head = 3 * d * d + d * s.classifier + s.classifier * len(step.weight)
    losses = 3 * d * d + n * d  # Soft-HGR of three pairs; SWFC
    # The attention's scores: one for each turn but the last, its weight's gradient for all turns.
    scores = spoken * (1 + s.bidirectional) * (3 * n - 2) * d
    # A product's derivative is two products, except where the input has no gradient.
    return 2 * (n * (3 * (context + fusion + head + losses) + 2 * raw * d) + scores)


@pytest.mark.parametrize("benchmark", ["MELD", "IEMOCAP"])
def test_every_product_is_counted(benchmark):
    step = Step(run_settings(benchmark, "smoke", "MultiEMO", 0), "smoke", 1)
    assert step.operations() == by_hand(step)
    with FlopCounterMode(display=False) as counter:
        step()
    assert counter.get_total_flops() < 0.95 * by_hand(step), "NumPy takes part in the step"


def test_the_published_code_is_timed_beside_ours(tmp_path):
    found = table("smoke", ("MultiEMO", "ML-SAN"), ("IEMOCAP",), 1, checkout(tmp_path / "theirs"))
    first, other = (row.filter(like="step s") for _, row in found.iterrows())
    assert len(first) == 4
    assert (first > 0).all()
    assert other.notna().sum() == 1, "only MultiEMO is compared"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"SoftHGRLoss": HGR.rstrip() + " + 1"},
            r"_Model\.py does not fit: .*loss is .*, ours ",
        ),
        ({"MultiEMO_Model": "import nothing_of_this_name"}, "does not fit: ModuleNotFoundError"),
    ],
)
def test_other_code_than_the_published_is_rejected(tmp_path, changes, message):
    folder = checkout(tmp_path / "theirs", **changes)
    with pytest.raises(PublishedCodeError, match=f"{message}.*an unchanged checkout of https://"):
        table("smoke", ("MultiEMO",), ("MELD",), 1, folder)


def test_a_folder_without_the_published_code_is_named(tmp_path, capsys):
    folder = checkout(tmp_path / "theirs")
    missing = folder / "Loss" / "SoftHGRLoss.py"
    missing.unlink()
    assert main(["--profile=smoke", f"--published={folder}"]) == 2
    error = capsys.readouterr().err
    assert f"{missing} is missing; set PUBLISHED to a checkout of https://" in error
    assert error.count("\n") == 1
