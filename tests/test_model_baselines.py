"""The baselines of Table 1: against their definitions, and blind to what must not matter."""

from dataclasses import replace
from itertools import combinations
from statistics import mean

import pytest
import torch
from checks import (
    check_all_is_finite,
    check_dropout_acts_in_training_only,
    check_every_parameter_learns,
    check_output_of_text_and_audio,
    check_the_batch_does_not_matter,
    filled,
    in_other_roles,
    single,
    trained,
)
from synthetic import LENGTHS, SIZES, batch
from synthetic import build as build_tiny

from mlsan.corpus.batch import pack
from mlsan.model import model_class
from mlsan.model.baselines import reference
from mlsan.model.baselines.common import Turns
from mlsan.model.baselines.dialogue_gcn import neighbours, relations
from mlsan.model.baselines.mmgcn import adjacency
from mlsan.vocabulary import MODALITIES

ROLES, WINDOW, DEPTH = 3, 2, 3
# Each model's settings here, its definition, and the definition's further arguments.
MODELS = {
    "BC-LSTM": ({"layers": DEPTH}, reference.bc_lstm, (DEPTH,)),
    "DialogueRNN": ({}, reference.dialogue_rnn, ()),
    "DialogueGCN": ({"window": WINDOW, "bases": 4}, reference.dialogue_gcn, (ROLES, WINDOW)),
    "DialogueGCN, as coded": (
        {"window": WINDOW, "bases": 4, "form": "code", "turns": max(LENGTHS)},
        reference.dialogue_gcn,
        (ROLES, WINDOW, True),
    ),
    "MMGCN": ({"layers": DEPTH}, reference.mmgcn, (DEPTH,)),
}
SUBSETS = [c for n in (1, 2, 3) for c in combinations(MODALITIES, n)]
every_model = pytest.mark.parametrize("name", MODELS)


def build(name, features=SIZES, **changes):
    tiny = {"d": 6, "hidden": 5, "dropout": 0.0} | MODELS[name][0]
    settings = model_class(name.partition(",")[0]).Settings(**(tiny | changes))
    # In evaluation mode, because DialogueRNN's cells have dropout whatever the settings say.
    return build_tiny(settings, features, roles=ROLES).eval()


def data(**changes):
    return batch(**({"roles": ROLES} | changes))


def by_definition(name, state, b, modalities=MODALITIES):
    """z and logits of all utterances, dialogue after dialogue."""
    _, definition, arguments = MODELS[name]
    parts = []
    for i, length in enumerate(b.mask.sum(0).tolist()):
        feature = {m: b.feature[m][:length, i] for m in modalities}
        parts.append(definition(state, feature, b.party[:length, i].tolist(), *arguments))
    return tuple(torch.cat(x) for x in zip(*parts, strict=True))


@every_model
@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_outputs_and_gradients_follow_the_definition(name, modalities):
    model = build(name, modalities=modalities)
    b = data()
    state = {k: v.detach().clone().requires_grad_() for k, v in model.named_parameters()}
    z, logits = by_definition(name, state, b, modalities)
    output = model(b)
    torch.testing.assert_close(output.z, z)
    torch.testing.assert_close(output.logits, logits)

    label = pack(b.label, b.mask)
    torch.nn.functional.cross_entropy(logits, label).backward()
    torch.nn.functional.cross_entropy(output.logits, label).backward()
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, state[key].grad, rtol=1e-6, atol=1e-10, msg=key)


@every_model
def test_float32_stays_within_1e_5_of_the_definition(name):
    model = build(name)
    _, logits = by_definition(name, model.state_dict(), data())
    got = model.float()(single(data())).logits
    assert (got - logits).abs().max() / logits.abs().max() < 1e-5


@every_model
def test_predictions_do_not_depend_on_the_batch(name):
    check_the_batch_does_not_matter(build(name), data())


@every_model
def test_the_content_of_padding_does_not_matter(name):
    model, b = build(name), data()
    torch.testing.assert_close(model(filled(b, ROLES)).logits, model(b).logits)


@every_model
def test_every_parameter_learns(name):
    model = build(name)
    check_every_parameter_learns(model, model(data()).logits.square().sum())


@every_model
def test_dropout_acts_in_training_only(name):
    check_dropout_acts_in_training_only(build(name, dropout=0.5), data())


# "As coded", the weights start so small that this many steps are too few.
@pytest.mark.parametrize("name", [name for name in MODELS if "coded" not in name])
def test_training_lowers_the_loss(name):
    losses = trained(build(name), data(), lr=0.02)
    # Dropout makes a single step's loss noisy.
    assert mean(losses[-10:]) < losses[0] / 2


@every_model
def test_the_output_has_what_the_model_computes(name):
    check_output_of_text_and_audio(build(name, modalities=("text", "audio")), data())


@every_model
def test_no_modality_left_is_an_error(name):
    with pytest.raises(ValueError, match="no modality left"):
        build(name, {"text": 5}, modalities=("audio",))


@every_model
def test_absent_features_leave_all_finite(name):
    """Zeros stand for a modality that is missing in a dialogue."""
    b = data()
    absent = b.feature | {"audio": b.feature["audio"] * 0}
    check_all_is_finite(build(name), replace(b, feature=absent))


@every_model
def test_only_bc_lstm_ignores_the_speaker(name):
    model, b = build(name), data()
    same = torch.allclose(model(b).logits, model(in_other_roles(b, ROLES)).logits)
    assert same == (name == "BC-LSTM")


def test_dialogue_rnn_drops_out_its_states_whatever_the_settings_say():
    model = build("DialogueRNN", dropout=0.0).train()
    assert not torch.equal(model(data()).z, model(data()).z)


def test_a_speaker_keeps_their_state_while_others_speak():
    rnn = build("DialogueRNN").context
    u = torch.randn(2, 4, sum(SIZES.values()), dtype=torch.float64)
    # One dialogue of four turns; in both streams role 0 speaks, then role 1 twice, then role 0.
    order = torch.tensor([4, 4, 1, 0]).expand(2, -1), (1, 1, 1, 1)
    with torch.no_grad():
        # The speaker's state ignores the context; the output depends on that state alone.
        rnn.p.weight_ih[..., u.shape[-1] :] = 0
        rnn.e.weight_hh.zero_()
        rnn.e.bias_ih[:, 5:10] = -1e3
    between, own = u.clone(), u.clone()
    between[:, 1:3] += 1
    own[:, 0] += 1
    last = rnn(u, *order)[:, 3]
    torch.testing.assert_close(rnn(between, *order)[:, 3], last)
    assert not torch.allclose(rnn(own, *order)[:, 3], last)


def test_gcn_neighbours_are_near_real_and_of_one_dialogue():
    near = neighbours(data().mask.T, WINDOW)
    for i, length in enumerate(LENGTHS):
        for a in range(max(LENGTHS)):
            for b in range(max(LENGTHS)):
                expected = a == b or (max(a, b) < length and abs(a - b) <= WINDOW)
                assert near[i, a, b].item() == expected


def test_gcn_reaches_two_windows_before_attention():
    """Two graph layers reach 2 * window turns; the LSTM and the attention are replaced here."""
    model = build("DialogueGCN", window=1)
    model.context.forward = lambda x, turns: x.repeat(1, 1, 2)[..., : 2 * 6]
    model.attend.forward = lambda x, turns: x
    b = data(lengths=(9,))
    x = torch.cat([b.feature[m] for m in MODALITIES], -1).transpose(0, 1).requires_grad_()
    out = model.encode(x, b.party.T, Turns.of(b))
    out[0, 4].sum().backward()
    reached = x.grad.abs().sum(-1)[0] > 0
    assert reached.tolist() == [2 <= t <= 6 for t in range(9)]


def test_gcn_as_coded_reads_no_more_turns_than_it_has_weights_for():
    model = build("DialogueGCN, as coded", turns=max(LENGTHS) - 1)
    with pytest.raises(ValueError, match=r"7 turns.*turns=6.*form='paper'"):
        model(data())


def test_gcn_as_coded_starts_with_the_small_weights_of_the_code():
    paper, code = (
        build("DialogueGCN", d=100, hidden=100, bases=30, form=form) for form in ("paper", "code")
    )
    bound = (30 * 200) ** -0.5
    for weight in code.relational.parameters():
        assert 0.9 * bound < weight.abs().max() <= bound
    mixed = [
        torch.einsum("rk,koi->roi", m.relational.mix, m.relational.basis) for m in (paper, code)
    ]
    assert (mixed[0].std() / mixed[1].std()).item() == pytest.approx(77, rel=0.1)


def test_gcn_has_one_relation_per_pair_of_roles_and_order():
    role = torch.tensor([[0, 1, 2, 0, 1, 2, 2, 1, 0]])
    relation = relations(role, ROLES)[0]
    meaning = {}
    for i, p in enumerate(role[0].tolist()):
        for j, q in enumerate(role[0].tolist()):
            meaning.setdefault(relation[i, j].item(), set()).add((p, q, i < j))
    assert sorted(meaning) == list(range(2 * ROLES**2))
    assert all(len(kinds) == 1 for kinds in meaning.values())


def test_mmgcn_adjacency_joins_modalities_of_one_utterance_only():
    mask = data().mask.T
    turns = mask.shape[1]
    nodes = torch.randn(len(LENGTHS), 3 * turns, 4, dtype=torch.float64)
    a = adjacency(nodes, mask).unflatten(2, (3, turns)).unflatten(1, (3, turns))
    for i, length in enumerate(LENGTHS):
        for m in range(3):
            for k in range(3):
                joined = a[i, m, :, k] > 0
                expected = torch.zeros(turns, turns, dtype=torch.bool)
                expected[:length, :length] = True if m == k else torch.eye(length).bool()
                assert torch.equal(joined, expected)
    torch.testing.assert_close(adjacency(nodes, mask), adjacency(nodes, mask).transpose(1, 2))


def test_mmgcn_survives_equal_opposite_and_empty_nodes():
    """arccos has an infinite derivative at 1 and -1, and a zero vector has no direction."""
    nodes = torch.tensor([[[1.0, 2.0], [1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]]], requires_grad=True)
    a = adjacency(nodes, torch.ones(1, 4, dtype=torch.bool))
    (a * torch.arange(16.0).view(1, 4, 4)).sum().backward()
    assert a.isfinite().all()
    assert nodes.grad.isfinite().all()


def test_mmgcn_stays_finite_at_its_published_depth():
    model = build("MMGCN", layers=64).float()
    output = model(single(data()))
    output.logits.square().sum().backward()
    assert output.logits.isfinite().all()
    for m, x in output.stages["context"].items():
        assert x.std(0).max() > 0, m
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_mmgcn_adds_the_speaker_to_text_alone():
    assert not hasattr(build("MMGCN", modalities=("audio", "visual")), "speaker")
    assert build("MMGCN").speaker.weight.shape == (ROLES, 6)
    with pytest.raises(ValueError, match="d=7 must be even"):
        build("MMGCN", d=7)
