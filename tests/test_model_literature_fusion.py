"""SDT and Li et al.: against their definitions, SDT also against the public code's numbers."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from checks import (
    check_every_parameter_learns,
    check_the_batch_does_not_matter,
    filled,
    single,
    trained,
)
from synthetic import CLASSES, SIZES, batch, randomise
from synthetic import build as build_tiny
from torch.nn.functional import cross_entropy, gelu, layer_norm, leaky_relu, linear

from mlsan.corpus.batch import pack
from mlsan.model import model_class
from mlsan.vocabulary import MODALITIES

HEADS, ROLES, EXPERTS = 2, 3, 3
TINY = {
    "SDT": {"d": 8, "heads": HEADS, "temperature": 2.0},
    "Li et al.": {"d": 8, "heads": HEADS, "hidden": 8, "depth": 1, "layers": 1}
    | {"feedforward": 12, "experts": EXPERTS},
}
SUBSETS = [c for n in (1, 2, 3) for c in combinations(MODALITIES, n)]
WEIGHT = (1.0, 2.0, 0.5)
every_model = pytest.mark.parametrize("name", TINY)


def build(name, features=SIZES, roles=ROLES, **changes):
    settings = model_class(name).Settings(**(TINY[name] | changes))
    model = build_tiny(settings, features, roles=roles)
    randomise(model)
    return model.eval()


def data(roles=ROLES, **changes):
    return batch(**({"roles": roles} | changes))


def loss_of(model, b, weight=None):
    output = model(b)
    erc = cross_entropy(output.logits, pack(b.label, b.mask), weight)
    return model.total_loss(erc, output, pack(b.speaker, b.mask))


def affine(state, name, x, at=()):
    bias = state.get(f"{name}.bias")
    return linear(x, state[f"{name}.weight"][at], None if bias is None else bias[at])


def norm(state, name, x, at=()):
    weight, bias = state[f"{name}.weight"][at], state[f"{name}.bias"][at]
    return layer_norm(x, x.shape[-1:], weight, bias)


def attend(query, key, value, heads):
    """One query at a time, one head at a time."""
    out = []
    for q in query:
        parts = []
        for head in range(heads):
            width = len(q) // heads
            at = slice(head * width, (head + 1) * width)
            score = torch.stack([q[at] @ k[at] / math.sqrt(width) for k in key])
            parts.append(
                sum(w * v[at] for w, v in zip(torch.softmax(score, 0), value, strict=True))
            )
        out.append(torch.cat(parts))
    return torch.stack(out)


def sdt(state, feature, role, names):
    """SDT of one dialogue: z, logits and the students' logits."""
    d = len(state["gate.weight"])
    x = {}
    for m in names:
        turns = []
        for t, u in enumerate(feature[m]):
            place = [f(t / 10000 ** (i / d)) for i in range(0, d, 2) for f in (math.sin, math.cos)]
            place = torch.tensor(place, dtype=u.dtype) + state["role.weight"][role[t]]
            turns.append(affine(state, f"project.{m}", u) + place)
        x[m] = torch.stack(turns)
    whole = {}
    for i, m in enumerate(names):
        seen = []
        for j, k in enumerate(names):
            at = i * len(names) + j
            key, value = affine(state, "encode.key_value", x[k], at).chunk(2, -1)
            y = attend(affine(state, "encode.query", x[m], at), key, value, HEADS)
            a = x[m] + affine(state, "encode.output", y, at)
            wide = affine(state, "encode.expand", norm(state, "encode.norm", a, at), at)
            h = a + affine(state, "encode.contract", gelu(wide, approximate="tanh"), at)
            gate = linear(h, state["encode.gate"][at]) if "encode.gate" in state else h
            seen.append(torch.sigmoid(gate) * h)
        whole[m] = affine(state, "join", torch.cat(seen, 1), i)
    share = torch.stack([affine(state, "gate", whole[m]) for m in names]).softmax(0)
    z = sum(s * whole[m] for s, m in zip(share, names, strict=True))
    single = {m: affine(state, "student", torch.relu(whole[m]), i) for i, m in enumerate(names)}
    return z, affine(state, "classify", z), single


def li(state, feature, role, names):
    """Li et al. of one dialogue: z, logits and the logits of teacher and students."""
    h = {m: encode(state, f"encode.{m}", feature[m], m) for m in names}
    p = {}
    for m in names:
        x = experts(state, f"experts.{m}", h[m])
        p[m] = x * torch.sigmoid(mlp(state, f"select.{m}.0", x, torch.relu))
    y = gelu(norm(state, "weigh.1", affine(state, "weigh.0", torch.cat([*p.values()], 1))))
    weight = affine(state, "weigh.6", gelu(affine(state, "weigh.4", y))).softmax(1)
    c = sum(weight[:, i : i + 1] * p[m] for i, m in enumerate(names))
    g = {}
    for m in names:
        x = p[m] * torch.sigmoid(mlp(state, f"pass_on.{m}.0", torch.cat([p[m], c], 1), gelu))
        g[m] = x * (torch.sigmoid(mlp(state, f"gate.{m}.0", torch.cat([x, c], 1), gelu)) + 0.1)
    rows = []
    for t in range(len(role)):
        if len(names) > 1:
            tokens = []
            for m in names:
                others = torch.stack([g[k][t] for k in names if k != m])
                tokens.append(mha(state, f"cross.{m}", g[m][t : t + 1], others) + 0.2 * g[m][t])
            x = torch.cat(tokens)
        else:
            x = g[names[0]][t : t + 1]
        normal = norm(state, "mix.0.norm1", x)
        x = x + mha(state, "mix.0.self_attn", normal, normal)
        wide = gelu(affine(state, "mix.0.linear1", norm(state, "mix.0.norm2", x)))
        x = x + affine(state, "mix.0.linear2", wide)
        pooled = mha(state, "pool", state["queries"], x).flatten()
        rows.append(norm(state, "finish.1", mlp(state, "finish.0", pooled, gelu)))
    z = torch.stack(rows)
    return z, affine(state, "classify", z), {m: affine(state, f"single.{m}", h[m]) for m in names}


def encode(state, name, raw, modality):
    """The graph encoder, edge by edge."""
    neighbours = {"text": 12, "audio": 6, "visual": 7}[modality]
    u = norm(state, f"{name}.start.0", raw)
    turns = range(len(u))
    edges = {}  # weights by (target, source)
    for i in turns:
        cosine = {j: u[i] @ u[j] / (u[i].norm() * u[j].norm()) for j in turns if j != i}
        near = sorted(cosine, key=lambda j: -cosine[j].item())[:neighbours]
        for j in cosine:
            weight = (cosine[j] if j in near else 0) + 0.53 * (abs(i - j) == 1)
            if weight != 0:
                edges[j, i] = weight.detach() if torch.is_tensor(weight) else weight
    x = affine(state, f"{name}.start.1", u)
    for layer in range(2 if modality == "text" else 1):
        at, new = f"{name}.convolve.{layer}", []
        for i in turns:
            if modality == "audio":
                y = sum(edges[i, j] * x[j] for j in turns if (i, j) in edges) + 0 * x[i]
                message = affine(state, f"{at}.lin_rel", y) + affine(state, f"{at}.lin_root", x[i])
            else:
                seen = [j for j in turns if (i, j) in edges or i == j]
                heads = linear(x, state[f"{at}.lin.weight"]).unflatten(1, (4, -1))
                parts = []
                for head in range(4):
                    y = heads[:, head]
                    source, target = (state[f"{at}.att_{e}"][0, 0, head] for e in ("src", "dst"))
                    score = torch.stack(
                        [leaky_relu(source @ y[j] + target @ y[i], 0.2) for j in seen]
                    )
                    parts.append(sum(a * y[j] for a, j in zip(score.softmax(0), seen, strict=True)))
                message = torch.cat(parts) + state[f"{at}.bias"]
            new.append(norm(state, f"{name}.norm.{layer}", torch.relu(message) + x[i]))
        x = torch.stack(new)
    return x


def experts(state, name, x):
    out = []
    for row in x:
        score = affine(state, f"{name}.route.2", gelu(affine(state, f"{name}.route.0", row)))
        best = sorted(range(EXPERTS), key=lambda e: -score[e].item())[:2]
        share = torch.softmax(score[best], 0)
        answers = [
            norm(state, f"{name}.norm", affine(state, f"{name}.expert", row, e), e) for e in best
        ]
        out.append(sum(s * gelu(y) for s, y in zip(share, answers, strict=True)))
    return torch.stack(out)


def mlp(state, name, x, activation):
    return affine(
        state, f"{name}.4", activation(norm(state, f"{name}.1", affine(state, f"{name}.0", x)))
    )


def mha(state, name, query, others):
    """PyTorch's layout of multi-head attention."""
    w, b = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (
        linear(x, *wb)
        for x, wb in zip((query, others, others), zip(w, b, strict=True), strict=True)
    )
    return affine(state, f"{name}.out_proj", attend(q, k, v, HEADS))


def by_definition(name, state, b, names):
    definition = {"SDT": sdt, "Li et al.": li}[name]
    parts = []
    for i, length in enumerate(b.length):
        feature = {m: b.feature[m][:length, i] for m in names}
        parts.append(definition(state, feature, b.party[:length, i].tolist(), names))
    z, logits, single = zip(*parts, strict=True)
    return torch.cat(z), torch.cat(logits), {m: torch.cat([s[m] for s in single]) for m in names}


@every_model
@pytest.mark.parametrize("modalities", SUBSETS, ids="+".join)
def test_outputs_and_gradients_follow_the_definition(name, modalities):
    model, b = build(name, modalities=modalities), data()
    state = {k: v.detach().clone().requires_grad_() for k, v in model.named_parameters()}
    z, logits, single = by_definition(name, state, b, modalities)
    output = model(b)
    torch.testing.assert_close(output.z, z)
    torch.testing.assert_close(output.logits, logits)
    for m in modalities:
        torch.testing.assert_close(output.single[m], single[m])
    label = pack(b.label, b.mask)
    given = sum(cross_entropy(x, label) for x in (logits, *single.values()))
    given.backward()
    sum(cross_entropy(x, label) for x in (output.logits, *output.single.values())).backward()
    for key, parameter in model.named_parameters():
        wanted, got = state[key].grad, parameter.grad
        if wanted is None:  # the heads of the gated features
            assert got is None
        else:
            torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-9, msg=key)


# From the public code with these weights: the loss, and log-probabilities of turn 0. All is in
# float64, except for the positions, which the public code has in float32.
PUBLIC = {
    "MELD": (34.94658485802249, (-25.433810141000333, -3.30622437291274e-08, -17.22514614625757)),
    "IEMOCAP": (19.61246530812442, (-0.014030453746844564, -4.287032860333181, -8.58528183732438)),
}


@pytest.mark.parametrize("form", PUBLIC)
def test_sdt_gives_the_public_codes_numbers(form):
    meld = form == "MELD"
    changes = {"temperature": 8.0 if meld else 1.0, "trained_gates": not meld}
    model = build("SDT", roles=9 if meld else 2, class_weight=() if meld else WEIGHT, **changes)
    b = data(roles=9 if meld else 2)
    loss, _ = loss_of(model, b, None if meld else torch.tensor(WEIGHT, dtype=torch.float64))
    log_p = model(b).logits[0].log_softmax(-1)
    wanted = torch.tensor(PUBLIC[form][1]).double()
    torch.testing.assert_close(loss.item(), PUBLIC[form][0], rtol=1e-6, atol=0)
    torch.testing.assert_close(log_p, wanted, rtol=1e-5, atol=1e-9)


def divergence(taught, learnt, tau):
    p, q = (taught / tau).softmax(-1), (learnt / tau).softmax(-1)
    return (p * (p / q).log()).sum(-1).mean()


def test_sdts_loss_is_that_of_whole_and_students():
    model, b = build("SDT", class_weight=WEIGHT), data()
    loss, parts = loss_of(model, b)
    output, label = model(b), pack(b.label, b.mask)
    weight = torch.tensor(WEIGHT, dtype=torch.float64)
    students = sum(cross_entropy(x, label, weight) for x in output.single.values())
    distilled = sum(divergence(output.logits, x, 2.0) for x in output.single.values())
    torch.testing.assert_close(parts["students"], students)
    torch.testing.assert_close(parts["distillation"], distilled)
    torch.testing.assert_close(loss, cross_entropy(output.logits, label) + students + distilled)


@pytest.mark.parametrize("names", [MODALITIES, ("audio", "visual"), ("text",)], ids="+".join)
def test_lis_loss_is_that_of_fusion_gates_teacher_and_students(names):
    model, b = build("Li et al.", modalities=names, class_weight=WEIGHT), data()
    loss, _ = loss_of(model, b)
    output, label = model(b), pack(b.label, b.mask)
    weight = torch.tensor(WEIGHT, dtype=torch.float64)

    def missed(logits):
        return 1 - torch.stack([p[y] for p, y in zip(logits.softmax(-1), label, strict=True)])

    def composite(logits, weight=weight):
        return cross_entropy(logits, label, weight) + 1.95 * (missed(logits) ** 2.4).mean()

    smooth = (0.9 * torch.eye(CLASSES)[label] + 0.1 / CLASSES).double()
    smoothed = -(smooth * output.logits.log_softmax(-1)).sum(-1).mean()
    focus = (missed(output.logits) ** 2.5).mean()
    wanted = 0.8 * focus * composite(output.logits, None) + 0.2 * smoothed
    wanted = wanted + sum(composite(x) for x in output.gated.values())
    for m in names:
        if m == "text" or "text" not in names:
            wanted = wanted + composite(output.single[m])
        else:
            apart = divergence(output.single["text"], output.single[m], 1.82)
            wanted = wanted + 0.58 * composite(output.single[m]) + 0.42 * 1.82**2 * apart
    torch.testing.assert_close(loss, wanted)


def test_lis_students_do_not_train_their_teacher():
    model, b = build("Li et al."), data()
    text = {k: p for k, p in model.named_parameters() if k.startswith("single.text")}
    loss_of(model, b)[0].backward()
    given = {k: p.grad.clone() for k, p in text.items()}
    model.zero_grad()
    output = model(b)
    output.single["audio"] = output.single["audio"].detach() + 1
    output.single["visual"] = output.single["visual"].detach() - 1
    erc = cross_entropy(output.logits, output.label)
    model.total_loss(erc, output, pack(b.speaker, b.mask))[0].backward()
    for key, parameter in text.items():
        torch.testing.assert_close(parameter.grad, given[key])


@every_model
def test_predictions_do_not_depend_on_the_batch(name):
    check_the_batch_does_not_matter(build(name), data())


@every_model
def test_padding_and_labels_do_not_reach_predictions(name):
    model, b = build(name), data()
    other = filled(b, ROLES, label=torch.zeros_like(b.label))
    torch.testing.assert_close(model(other).logits, model(b).logits)


@every_model
def test_every_parameter_learns(name):
    model = build(name)
    check_every_parameter_learns(model, loss_of(model, data())[0])


@every_model
@pytest.mark.parametrize("features", [{"text": 5}, {"audio": 4}, SIZES], ids=len)
def test_dialogues_of_one_turn_and_absent_features_leave_all_finite(name, features):
    model = build(name, features).train()
    b = data(sizes=features, lengths=(1,))
    silent = replace(b, feature={m: x * 0 for m, x in b.feature.items()})
    for one in (b, silent):
        loss, parts = loss_of(model, one)
        loss.backward()
        assert all(part.isfinite() for part in (loss, *parts.values()))
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@every_model
def test_training_lowers_the_loss(name):
    torch.manual_seed(0)
    settings = model_class(name).Settings(**TINY[name], dropout=0.0)
    losses = trained(build_tiny(settings, roles=ROLES), data(), lr=0.02)
    assert losses[-1] < losses[0] / 2


@every_model
def test_dropout_acts_in_training_only_and_follows_the_seed(name):
    model, b = build(name).train(), data()
    torch.manual_seed(3)
    first, second = model(b).logits, model(b).logits
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(model(b).logits, first)
    model.eval()
    assert torch.equal(model(b).logits, model(b).logits)


@every_model
def test_bfloat16_stays_close(name):
    model = build(name).float()
    b = single(data())
    with torch.autocast("cpu", torch.bfloat16):
        reduced = model(b).logits
    assert reduced.dtype == torch.bfloat16
    full = model(b).logits
    assert (reduced - full).abs().mean() < 0.1 * full.abs().mean()


@every_model
def test_only_sdt_knows_the_role(name):
    model, b = build(name), data()
    other = replace(b, party=(b.party + 1) % ROLES * b.mask)
    assert torch.allclose(model(b).logits, model(other).logits) == (name == "Li et al.")


@every_model
def test_widths_that_heads_do_not_divide_are_refused(name):
    with pytest.raises(ValueError, match=r"d=9 must be"):
        build(name, d=9)
    with pytest.raises(ValueError, match="no modality left"):
        build(name, {"text": 5}, modalities=("audio",))
