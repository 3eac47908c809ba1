"""Reading weights of the published implementation."""

import pickle

import pytest
import torch
from synthetic import CLASSES, SIZES, SPEAKERS, config, published_state

from mlsan.model import build_model
from mlsan.model.checkpoints import PublishedStateError, load_published, read_published


def build(form="MELD", **changes):
    return build_model(config(form, **changes), SIZES, 4, CLASSES, SPEAKERS, 0).double()


def test_a_file_goes_round(tmp_path):
    state = published_state("MELD")
    torch.save(state, tmp_path / "weights.pt")
    assert all(torch.equal(x, state[k]) for k, x in read_published(tmp_path / "weights.pt").items())


class Danger:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_file_with_code_is_refused_and_does_not_run(tmp_path, capsys):
    path = tmp_path / "weights.pt"
    torch.save({"fc.weight": Danger()}, path)
    with pytest.raises(PublishedStateError, match=r"weights\.pt"):
        read_published(path)
    path.write_bytes(pickle.dumps(Danger(), protocol=2))
    with pytest.raises(PublishedStateError, match=r"weights\.pt"):
        read_published(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"not weights", [1, 2], {"fc": 3}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(PublishedStateError, match=r"weights\.pt"):
        read_published(path)


def test_the_unused_parameters_of_the_meld_form_are_not_needed():
    state = published_state("MELD")
    used = {
        k: x
        for k, x in state.items()
        if not k.startswith("text_dialoguernn") and "_rnn_r" not in k and "rnn.linear" not in k
    }
    assert len(used) < len(state)
    whole, part = build(), build()
    load_published(whole, state)
    load_published(part, used)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "name", ["fc.gain", "text_dialoguernn.extra", "multiattn.multiattn_text.multiattn_layers.2.x"]
)
def test_anything_unexpected_is_named(name):
    state = published_state("MELD") | {name: torch.zeros(1)}
    with pytest.raises(PublishedStateError, match=name):
        load_published(build(), state)


@pytest.mark.parametrize("form", ["MELD", "IEMOCAP"])
def test_anything_missing_is_named_and_the_model_left_alone(form):
    model = build(form)
    before = {k: x.clone() for k, x in model.state_dict().items()}
    for name in (
        "mlp.linear_2.bias",
        "audio_dialoguernn.dialog_rnn_f.dialogue_cell.e_cell.bias_hh",
    ):
        state = published_state(form)
        del state[name]
        with pytest.raises(PublishedStateError, match=name):
            load_published(model, state)
    assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items())


def test_another_shape_is_refused_and_the_model_left_alone():
    model = build(feedforward=16)
    before = {k: x.clone() for k, x in model.state_dict().items()}
    with pytest.raises(PublishedStateError, match=r"expand\.weight.*check d, heads"):
        load_published(model, published_state("MELD"))
    assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items())


def test_all_modalities_are_needed():
    model = build_model(config(), {"text": 5}, 4, CLASSES, SPEAKERS, 0)
    with pytest.raises(PublishedStateError, match="three modalities"):
        load_published(model, published_state("MELD"))
