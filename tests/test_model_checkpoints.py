"""Reading and naming the weights of the published implementation."""

import pickle

import pytest
import torch
from synthetic import build, published_weights, randomise, settings

from mlsan.model.checkpoints import (
    PublishedStateError,
    load_published,
    published_state,
    read_published,
)


def test_a_file_is_read_as_it_was_saved(tmp_path):
    state = published_weights("MELD")
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
    state = published_weights("MELD")
    used = {
        k: x
        for k, x in state.items()
        if not k.startswith("text_dialoguernn") and "_rnn_r" not in k and "rnn.linear" not in k
    }
    assert len(used) < len(state)
    whole, part = build(settings()), build(settings())
    load_published(whole, state)
    load_published(part, used)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "name", ["fc.gain", "text_dialoguernn.extra", "multiattn.multiattn_text.multiattn_layers.2.x"]
)
def test_anything_unexpected_is_named(name):
    state = published_weights("MELD") | {name: torch.zeros(1)}
    with pytest.raises(PublishedStateError, match=name):
        load_published(build(settings()), state)


@pytest.mark.parametrize("form", ["MELD", "IEMOCAP"])
def test_anything_missing_is_named_and_the_model_left_alone(form):
    model = build(settings(form))
    before = {k: x.clone() for k, x in model.state_dict().items()}
    for name in (
        "mlp.linear_2.bias",
        "audio_dialoguernn.dialog_rnn_f.dialogue_cell.e_cell.bias_hh",
    ):
        state = published_weights(form)
        del state[name]
        with pytest.raises(PublishedStateError, match=name):
            load_published(model, state)
    assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items())


def test_another_shape_is_refused_and_the_model_left_alone():
    model = build(settings(feedforward=16))
    before = {k: x.clone() for k, x in model.state_dict().items()}
    with pytest.raises(PublishedStateError, match=r"expand\.weight.*check d, heads"):
        load_published(model, published_weights("MELD"))
    assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items())


@pytest.mark.parametrize(
    ("without", "named"),
    [
        (("bidirectional", "text_context"), ("text_dialoguernn.dialog_rnn_f", "dialog_rnn_r")),
        (("bidirectional",), ("audio_dialoguernn.dialog_rnn_r", "visual_dialoguernn.linear.bias")),
        (("text_context",), ("text_dialoguernn.dialog_rnn_f", "text_dialoguernn.linear.weight")),
    ],
    ids="+".join,
)
def test_trained_weights_without_a_place_are_named_and_the_model_left_alone(without, named):
    model = build(settings("IEMOCAP", **dict.fromkeys(without, False)))
    before = {k: x.clone() for k, x in model.state_dict().items()}
    with pytest.raises(PublishedStateError, match="bidirectional=True and text_context") as error:
        load_published(model, published_weights("IEMOCAP"))
    assert all(key in str(error.value) for key in named)
    assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items())


def test_all_modalities_are_needed():
    model = build(settings(), {"text": 5})
    with pytest.raises(PublishedStateError, match="three modalities"):
        load_published(model, published_weights("MELD"))


@pytest.mark.parametrize("form", ["MELD", "IEMOCAP"])
def test_a_model_gives_back_what_it_loaded_under_the_same_names(form):
    model, state = build(settings(form)), published_weights(form)
    load_published(model, state)
    back = published_state(model)
    ours = dict(model.named_parameters()) | dict(model.named_buffers())
    assert set(back) - set(state) == {name for name in ours if name in back}
    loaded = set(back) & set(state)
    assert all(torch.equal(back[name], state[name]) for name in loaded)
    assert sum(x.numel() for x in back.values()) == sum(x.numel() for x in ours.values())
    if form == "IEMOCAP":
        assert loaded == set(state), "every published parameter of this form is used"


def test_gradients_reach_the_model_through_the_published_names():
    model = build(settings())
    randomise(model)
    sum(x.square().sum() for x in published_state(model).values()).backward()
    for parameter in model.parameters():
        torch.testing.assert_close(parameter.grad, 2 * parameter.detach())
