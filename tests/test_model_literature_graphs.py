"""COGMEN and M2FNet: against their definitions, and blind to what must not matter."""

import math
import subprocess
import sys
from dataclasses import replace
from itertools import combinations

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
from synthetic import CLASSES, LENGTHS, SIZES, batch
from synthetic import build as build_tiny
from torch.nn.functional import cross_entropy, layer_norm, leaky_relu, linear

from mlsan.corpus.batch import pack
from mlsan.model import build_model, model_class
from mlsan.model.baselines.cogmen import COGMENSettings, RelationalConv, edges, relations
from mlsan.model.interface import Sizes
from mlsan.training import run_settings
from mlsan.vocabulary import MODALITIES

ROLES, WINDOW, DEPTH, HEADS, GRAPH_HEADS, HIDDEN = 3, 2, 2, 2, 2, 5
TINY = {
    "COGMEN": {"window": WINDOW, "graph_heads": GRAPH_HEADS},
    "M2FNet": {"d": 8, "heads": HEADS, "fusions": 2},
}
SUBSETS = [c for n in (1, 2, 3) for c in combinations(MODALITIES, n)]
every_model = pytest.mark.parametrize("name", TINY)


def build(name, features=SIZES, **changes):
    tiny = {"hidden": HIDDEN, "layers": DEPTH, "feedforward": 7, "dropout": 0.0}
    settings = model_class(name).Settings(**(tiny | TINY[name] | changes))
    model = build_tiny(settings, features, roles=ROLES)
    if name == "COGMEN":
        randomise_statistics(model.normalise)
    return model.eval()


def randomise_statistics(norm):
    torch.manual_seed(0)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)


def data(**changes):
    return batch(**({"roles": ROLES} | changes))


# The models by their definitions: one dialogue, one turn, one head and one edge at a time


def affine(state, name, x):
    return linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def attended(query, keys, values, heads):
    """One turn's attention: for each head, the values' mean with weights softmax_j(q k_j / √d)."""
    out = []
    for q, *kv in zip(query.chunk(heads), *(x.chunk(heads) for x in (*keys, *values)), strict=True):
        k, v = kv[: len(keys)], kv[len(keys) :]
        share = torch.softmax(torch.stack([q @ k_j / math.sqrt(len(q)) for k_j in k]), 0)
        out.append(sum(a * v_j for a, v_j in zip(share, v, strict=True)))
    return torch.cat(out)


def cogmen_graph(state, feature, role):
    """u of each turn: what batch normalisation reads."""
    x = torch.cat([feature[m] for m in MODALITIES if m in feature], 1)
    width = x.shape[1]
    heads = next((n for n in range(7, 15) if width % n == 0), 1)
    for n in range(DEPTH):
        layer = f"context.layers.{n}"
        inner = linear(
            x, state[f"{layer}.self_attn.in_proj_weight"], state[f"{layer}.self_attn.in_proj_bias"]
        )
        q, k, v = inner.chunk(3, 1)
        y = torch.stack([attended(one, k, v, heads) for one in q])
        x = x + affine(state, f"{layer}.self_attn.out_proj", y)
        x = layer_norm(x, (width,), *(state[f"{layer}.norm1.{p}"] for p in ("weight", "bias")))
        wide = torch.relu(affine(state, f"{layer}.linear1", x))
        x = x + affine(state, f"{layer}.linear2", wide)
        x = layer_norm(x, (width,), *(state[f"{layer}.norm2.{p}"] for p in ("weight", "bias")))
    g = affine(state, "narrow", x)

    turns = range(len(g))
    near = {i: [j for j in turns if abs(i - j) <= WINDOW] for i in turns}
    number = {
        kind: n
        for n, kind in enumerate(
            (source, target, late)
            for source in range(ROLES)
            for target in range(ROLES)
            for late in (False, True)
        )
    }
    h = []
    for i in turns:
        by_kind = {}
        for j in near[i]:
            by_kind.setdefault((role[j], role[i], j >= i), []).append(g[j])
        h_i = g[i] @ state["relational.root"] + state["relational.bias"]
        for kind, found in by_kind.items():
            weight = state["relational.weight"][number[kind]]
            h_i = h_i + sum(g_j @ weight for g_j in found) / len(found)
        h.append(h_i)
    h = torch.stack(h)
    q, k, v = (affine(state, f"attend.lin_{part}", h) for part in ("query", "key", "value"))
    u = [attended(q[i], k[near[i]], v[near[i]], GRAPH_HEADS) for i in turns]
    return torch.stack(u) + affine(state, "attend.lin_skip", h)


def cogmen(state, dialogues, training):
    graph = torch.cat([cogmen_graph(state, *dialogue) for dialogue in dialogues])
    mean, variance = state["normalise.running_mean"], state["normalise.running_var"]
    if training:
        mean, variance = graph.mean(0), graph.var(0, correction=0)
    unit = (graph - mean) / torch.sqrt(variance + 1e-5)
    x = leaky_relu(unit * state["normalise.weight"] + state["normalise.bias"], 0.01)
    z = torch.relu(affine(state, "hidden", x))
    return z, affine(state, "classify.1", z)


def stream(state, name, s, x):
    """A stacked linear layer, for one of its streams."""
    return linear(x, state[f"{name}.weight"][s], state[f"{name}.bias"][s])


def multi_head(state, name, s, query, key, value):
    q, k, v = (
        stream(state, f"{name}.{part}", s, x)
        for part, x in (("query", query), ("key", key), ("value", value))
    )
    return stream(state, f"{name}.output", s, torch.stack([attended(x, k, v, HEADS) for x in q]))


def m2fnet_dialogue(state, feature):
    def normalised(name, s, x):
        return layer_norm(x, x.shape[1:], state[f"{name}.weight"][s], state[f"{name}.bias"][s])

    streams = []
    for s, m in enumerate(m for m in MODALITIES if m in feature):
        x = affine(state, f"project.{m}", feature[m])
        for n in range(DEPTH):
            layer = f"encode.{n}"
            y = normalised(
                f"{layer}.norm", s, x + multi_head(state, f"{layer}.attention", s, x, x, x)
            )
            wide = torch.relu(stream(state, f"{layer}.expand", s, y))
            y = y + stream(state, f"{layer}.contract", s, wide)
            x = x + normalised(f"{layer}.last_norm", s, y)
        streams.append(x)
    main, *others = streams
    for n in range(TINY["M2FNet"]["fusions"] if others else 0):
        parts = [
            multi_head(state, f"fuse.{n}.attention", s, main, other, main)
            for s, other in enumerate(others)
        ]
        main = affine(state, f"fuse.{n}.join", torch.cat([*parts, main], 1))
    z = torch.relu(affine(state, "hidden", torch.cat([main, *others], 1)))
    return z, affine(state, "classify.1", z)


def m2fnet(state, dialogues, training):
    parts = [m2fnet_dialogue(state, feature) for feature, _ in dialogues]
    return tuple(torch.cat(x) for x in zip(*parts, strict=True))


def by_definition(name, state, b, modalities=MODALITIES, training=False):
    """z and logits of all utterances, dialogue after dialogue."""
    dialogues = [
        ({m: b.feature[m][:length, i] for m in modalities}, b.party[:length, i].tolist())
        for i, length in enumerate(b.length)
    ]
    return {"COGMEN": cogmen, "M2FNet": m2fnet}[name](state, dialogues, training)


@every_model
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_outputs_and_gradients_follow_the_definition(name, modalities, training):
    model = build(name, modalities=modalities).train(training)
    b = data()
    state = {k: v.detach().clone() for k, v in model.state_dict().items()}
    state |= {k: state[k].requires_grad_() for k, _ in model.named_parameters()}
    z, logits = by_definition(name, state, b, modalities, training)
    output = model(b)
    torch.testing.assert_close(output.z, z)
    torch.testing.assert_close(output.logits, logits)

    label = pack(b.label, b.mask)
    cross_entropy(logits, label).backward()
    cross_entropy(output.logits, label).backward()
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, state[key].grad, rtol=1e-6, atol=1e-10, msg=key)


@every_model
def test_float32_stays_within_1e_5_of_the_definition(name):
    model = build(name)
    _, logits = by_definition(name, model.state_dict(), data())
    got = model.float()(single(data())).logits
    assert (got - logits).abs().max() / logits.abs().max() < 1e-5


@every_model
def test_predictions_without_gradients_are_the_same(name):
    """PyTorch has another path through its encoder layers for them."""
    model, b = build(name), data()
    expected = model(b).logits
    with torch.no_grad():
        torch.testing.assert_close(model(b).logits, expected)


@every_model
def test_predictions_do_not_depend_on_the_batch(name):
    check_the_batch_does_not_matter(build(name), data())


@every_model
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_the_content_of_padding_does_not_matter(name, training):
    model, b = build(name).train(training), data()
    torch.testing.assert_close(model(filled(b, ROLES)).logits, model(b).logits)


@every_model
@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_every_parameter_learns(name, modalities):
    model = build(name, modalities=modalities)
    # A key's bias shifts all scores of a query alike, which the softmax takes out.
    check_every_parameter_learns(model, model(data()).logits.square().sum(), flat="key.bias")


@every_model
def test_dropout_acts_in_training_only(name):
    check_dropout_acts_in_training_only(build(name, dropout=0.5), data())


def losses_and_weights(name, steps, dropout):
    model = build(name, dropout=dropout)
    torch.manual_seed(0)
    return trained(model, data(), lr=0.01, steps=steps), model.state_dict()


@every_model
def test_training_lowers_the_loss(name):
    losses, _ = losses_and_weights(name, 100, 0.0)
    assert losses[-1] < losses[0] / 2


@every_model
def test_training_again_gives_the_same_bits(name):
    (losses, weights), (again, other) = (losses_and_weights(name, 5, 0.3) for _ in range(2))
    assert losses == again
    assert all(torch.equal(weights[key], other[key]) for key in weights)


@every_model
def test_a_seed_decides_the_first_weights_and_leaves_the_global_state(name):
    before = torch.get_rng_state()
    first, same, another = (
        build_model(model_class(name).Settings(), Sizes(SIZES, ROLES, CLASSES, 6), seed)
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(first.parameters(), same.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not torch.equal(first.hidden.weight, another.hidden.weight)


@every_model
def test_the_output_has_what_the_model_computes(name):
    output = check_output_of_text_and_audio(build(name, modalities=("text", "audio")), data())
    assert output.z.shape == (sum(LENGTHS), HIDDEN)


@every_model
def test_no_modality_left_is_an_error(name):
    with pytest.raises(ValueError, match="no modality left"):
        build(name, {"text": 5}, modalities=("audio",))


@every_model
def test_absent_features_leave_all_finite(name):
    """Zeros stand for a modality that is missing in a dialogue."""
    b = data()
    check_all_is_finite(build(name), replace(b, feature={m: x * 0 for m, x in b.feature.items()}))


@every_model
@pytest.mark.parametrize("lengths", [(1,), (1, 1)], ids=["one utterance", "two dialogues of one"])
def test_training_on_single_utterances_stays_finite(name, lengths):
    check_all_is_finite(build(name).train(), data(lengths=lengths))


@every_model
@pytest.mark.parametrize(("roles", "classes"), [(1, 2), (9, 7)])
def test_any_number_of_roles_and_emotions(name, roles, classes):
    settings = model_class(name).Settings(feedforward=7)
    model = build_model(settings, Sizes(SIZES, roles, classes, 6), 0).double()
    assert model(data(roles=roles)).logits.shape == (sum(LENGTHS), classes)


@every_model
def test_only_cogmen_reads_the_role(name):
    model, b = build(name), data()
    same = torch.allclose(model(b).logits, model(in_other_roles(b, ROLES)).logits)
    assert same == (name == "M2FNet")


def test_cogmen_is_the_published_code_to_rounding():
    """Outputs of Exploration-Lab/COGMEN (8c00c9b) with these weights and without padding."""
    sizes = {"text": 6, "audio": 4, "visual": 6}
    settings = COGMENSettings(hidden=4, feedforward=2048, dropout=0.0)
    model = build_model(settings, Sizes(sizes, 2, 6, 3), 0).double().eval()
    set_weights(model)
    b = batch(lengths=(4, 4), roles=2, sizes=sizes)
    b.party[:] = torch.tensor([[0, 1], [1, 1], [0, 0], [0, 1]])
    for m, x in b.feature.items():
        x[:] = torch.sin(torch.arange(x.numel(), dtype=x.dtype) + len(m)).view(x.shape)
    got = model(b).logits.log_softmax(-1)
    torch.testing.assert_close(got, torch.tensor(PUBLISHED, dtype=got.dtype), rtol=0, atol=1e-8)


def set_weights(model):
    """Weights without any random number; variances are positive."""
    with torch.no_grad():
        for n, (name, w) in enumerate(sorted(model.state_dict().items())):
            if w.is_floating_point():
                wave = torch.sin(torch.arange(w.numel(), dtype=w.dtype) * (n + 1)).view(w.shape)
                w.copy_(1 + wave / 2 if "norm" in name else wave / 2)


PUBLISHED = [
    [-1.720420663, -1.726334887, -2.737517305, -1.098789649, -2.690391694, -1.730395181],
    [-1.873485323, -1.413698574, -3.097114767, -1.027411502, -2.521647846, -2.122500727],
    [-1.828721910, -1.498265807, -2.945235404, -1.061591963, -2.544094147, -1.974539120],
    [-1.761170205, -1.631379639, -2.816061212, -1.081611966, -2.627395599, -1.824236762],
    [-1.742818074, -1.756841116, -2.573989858, -1.185970272, -2.637192485, -1.613737209],
    [-1.897355258, -1.691296015, -2.272848881, -1.419167294, -2.393244684, -1.471903495],
    [-1.758840123, -1.809791652, -2.433883267, -1.266449486, -2.616494687, -1.507411206],
    [-1.777966909, -1.703095759, -2.558693765, -1.208281816, -2.570890836, -1.628026945],
]


def test_cogmen_has_the_published_number_of_heads():
    def heads(width):
        settings = COGMENSettings(layers=1, feedforward=7)
        model = build_model(settings, Sizes({"text": width}, ROLES, CLASSES, 6), 0)
        return model.context.layers[0].self_attn.num_heads

    assert [heads(width) for width in (1380, 56, 13, 15)] == [10, 7, 13, 1]


def test_the_relational_layer_is_that_of_torch_geometric():
    from torch_geometric.nn import RGCNConv

    ours = RelationalConv(4, 3, 2 * ROLES**2).double()
    torch.nn.init.normal_(ours.bias)
    theirs = RGCNConv(4, 3, 2 * ROLES**2).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(sum(LENGTHS), 4, dtype=torch.float64, requires_grad=True)
    edge = edges(torch.tensor(LENGTHS), WINDOW)
    kind = relations(torch.randint(ROLES, (len(x),)), edge, ROLES)
    got, expected = ours(x, edge, kind), theirs(x, edge, kind)
    torch.testing.assert_close(got, expected)
    inputs = [x, ours.weight, ours.root, ours.bias], [x, theirs.weight, theirs.root, theirs.bias]
    for one, other in zip(
        torch.autograd.grad(got.square().sum(), inputs[0]),
        torch.autograd.grad(expected.square().sum(), inputs[1]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_the_relational_layer_starts_like_that_of_torch_geometric():
    from torch_geometric.nn import RGCNConv

    ours, theirs = RelationalConv(40, 30, 18), RGCNConv(40, 30, 18)
    for name, weight in theirs.state_dict().items():
        start = ours.state_dict()[name]
        torch.testing.assert_close(start.std(), weight.std(), rtol=0.1, atol=0)
        torch.testing.assert_close(start.abs().max(), weight.abs().max(), rtol=0.02, atol=0)


def test_edges_join_near_turns_of_one_dialogue():
    source, target = edges(torch.tensor([3, 1, 4]), 2)
    place = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
    expected = {
        (i, j)
        for i, (dialogue, turn) in enumerate(place)
        for j, (other, later) in enumerate(place)
        if dialogue == other and abs(turn - later) <= 2
    }
    found = list(zip(source.tolist(), target.tolist(), strict=True))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_importing_cogmen_leaves_torch_geometric_out():
    code = (
        "import sys; from mlsan.training import run_settings; "
        "run_settings('MELD', 'small', 'COGMEN', 0); sys.exit('torch_geometric' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("benchmark", ["MELD", "IEMOCAP"])
def test_profile_paper_has_cogmens_published_settings(benchmark):
    run = run_settings(benchmark, "paper", "COGMEN", 0)
    assert run.model == COGMENSettings()
    assert (run.train.lr, run.train.batch, run.train.epochs) == (1e-4, 32, 55)
    assert run.speaker == "role"


def test_m2fnet_fuses_into_the_first_modality_alone():
    """The others reach z by themselves; a single modality is not fused."""
    assert len(build("M2FNet", modalities=("visual",)).fuse) == 0
    model = build("M2FNet", modalities=("audio", "visual"))
    with torch.no_grad():
        model.hidden.weight[:, :8] = 0
        b = data()
        before = model(b).z
        for layer in model.fuse:
            layer.join.weight.zero_()
        assert torch.equal(model(b).z, before)


def test_m2fnet_rejects_a_width_that_heads_do_not_divide():
    with pytest.raises(ValueError, match="d=9 must be a multiple of heads=2"):
        build("M2FNet", d=9)
