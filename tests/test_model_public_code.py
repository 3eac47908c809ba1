"""The baselines of Table 1 against the published code, with the same weights."""

import public_code
import pytest
import torch
from public_code import CLASSES, LENGTHS, ROLES, SIZES, WINDOW

from mlsan.model import build_model, model_class
from mlsan.model.interface import Sizes
from mlsan.model.losses import focal
from mlsan.training.systems import run_settings

OUTPUTS = public_code.outputs()
# The settings that are not the default; the sizes are the published ones.
CHANGES = {"DialogueGCN": {"window": WINDOW, "form": "code"}}
# How far the published code, run on the padded batch, is from itself on each dialogue alone.
PADDING = {"BC-LSTM": 0.0285, "DialogueRNN": 0.0, "DialogueGCN": 0.0429, "MMGCN": 0.0296}
every_model = pytest.mark.parametrize("name", PADDING)


def build(name, **changes):
    settings = model_class(name).Settings(**(CHANGES.get(name, {}) | changes))
    return build_model(settings, Sizes(SIZES, ROLES, CLASSES, speakers=2), seed=0).double().eval()


def log_probabilities(model, state=None):
    model.load_state_dict(state or public_code.weights(model.state_dict()))
    with torch.no_grad():
        return model(public_code.batch()).logits.log_softmax(-1)


def published(name, what):
    return torch.tensor(OUTPUTS[name][what], dtype=torch.float64)


def largest(x):
    return x.abs().max().item()


@every_model
def test_each_dialogue_alone_gives_what_the_published_code_gives(name):
    expected = published(name, "alone")
    assert expected.shape == (sum(LENGTHS), CLASSES)
    torch.testing.assert_close(log_probabilities(build(name)), expected, rtol=0, atol=1e-8)


@every_model
def test_dropout_acts_where_the_published_code_has_it(name, monkeypatch):
    """Dropout with probability p is replaced by a product with 1 - p in both."""
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, p, *rest: (1 - p) * x)
    expected = published(name, "dropout")
    assert largest(expected - published(name, "alone")) > 1e-2
    torch.testing.assert_close(log_probabilities(build(name)), expected, rtol=0, atol=1e-8)


@every_model
def test_only_the_published_code_depends_on_padding(name):
    found = largest(published(name, "padded") - published(name, "alone"))
    assert found == pytest.approx(PADDING[name], rel=0.05, abs=1e-8)


def test_the_two_forms_of_dialogue_gcn_differ_as_stated():
    """With the same weights, of which form "code" reads only the first rows of the edges'."""
    paper, code = build("DialogueGCN", form="paper"), build("DialogueGCN")
    state = public_code.weights(paper.state_dict())
    cut = state | {"edge.weight": state["edge.weight"][: len(code.edge.weight)]}
    difference = log_probabilities(paper, state) - log_probabilities(code, cut)
    assert largest(difference) == pytest.approx(0.0741, rel=0.05)


def test_mmgcn_decays_its_weights_on_iemocap_alone():
    runs = [run_settings(benchmark, "paper", "MMGCN", 0) for benchmark in ("MELD", "IEMOCAP")]
    assert [run.train.weight_decay for run in runs] == [0.0, 3e-5]


def test_the_published_focal_loss_is_as_stated():
    logits, label = public_code.logits()
    log_p = logits.log_softmax(-1)
    y = torch.nn.functional.one_hot(label, 7)
    stated = ((1 - y * log_p) ** 2.5 * -log_p).mean()
    assert stated.item() == pytest.approx(OUTPUTS["focal_loss"])
    assert stated > 7 * focal(logits, label, 2.5)
