"""MultiEMO and its losses by the definition, slow and plain: what the fast code must equal.

Everything is written for one dialogue, one party, one head and one pair at a time, from the
published parameters' names, and shares no code with the package.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear, normalize

from mlsan.corpus.types import Batch

ORDERS = {
    "text": ("audio", "visual"),
    "audio": ("text", "visual"),
    "visual": ("text", "audio"),
}


def gru(state: Mapping[str, Tensor], name: str, x: Tensor, h: Tensor) -> Tensor:
    """One GRU step."""
    i = linear(x, state[f"{name}.weight_ih"], state[f"{name}.bias_ih"]).chunk(3)
    s = linear(h, state[f"{name}.weight_hh"], state[f"{name}.bias_hh"]).chunk(3)
    r, z = torch.sigmoid(i[0] + s[0]), torch.sigmoid(i[1] + s[1])
    n = torch.tanh(i[2] + r * s[2])
    return (1 - z) * n + z * h


def dialogue_rnn(
    state: Mapping[str, Tensor], name: str, u: Tensor, party: list[int], length: int, parties: int
) -> Tensor:
    """One dialogue, all parties, growing history. Turns from `length` on are padding."""
    zero = u.new_zeros(u.shape[1])
    g, e = zero, zero
    q = [zero] * parties
    history: list[Tensor] = []
    out = []
    for t in range(len(u)):
        speaker = party[t] if t < length else 0
        if history:
            past = torch.stack(history)
            weight = torch.softmax(linear(past, state[f"{name}.attention.scalar.weight"]), 0)
            c = (weight * past).sum(0)
        else:
            c = zero
        g = gru(state, f"{name}.g_cell", torch.cat([u[t], q[speaker]]), g)
        new = [gru(state, f"{name}.p_cell", torch.cat([u[t], c]), old) for old in q]
        q = [new[p] if t < length and p == speaker else q[p] for p in range(parties)]
        e = gru(state, f"{name}.e_cell", q[speaker], e)
        history.append(g)
        out.append(e)
    return torch.stack(out)


def context(
    state: Mapping[str, Tensor],
    name: str,
    u: Tensor,
    party: list[int],
    length: int,
    parties: int,
    bidirectional: bool,
) -> Tensor:
    """DialogueRNN of one dialogue in one or both directions, through ReLU."""
    forward = dialogue_rnn(state, f"{name}.dialog_rnn_f.dialogue_cell", u, party, length, parties)
    if not bidirectional:
        return torch.relu(forward)
    turned = dialogue_rnn(
        state,
        f"{name}.dialog_rnn_r.dialogue_cell",
        u[:length].flip(0),
        party[:length][::-1],
        length,
        parties,
    )
    backward = torch.cat([turned.flip(0), u.new_zeros(len(u) - length, u.shape[1])])
    both = torch.cat([forward, backward], 1)
    return torch.relu(linear(both, state[f"{name}.linear.weight"], state[f"{name}.linear.bias"]))


def attention(state: Mapping[str, Tensor], name: str, x: Tensor, other: Tensor, heads: int):
    """Multi-head attention of one dialogue, head by head, query by query."""

    def project(role: str, h: int, y: Tensor) -> Tensor:
        stem = f"{name}.attention_heads.{h}.{role}_matrix"
        return linear(y, state[f"{stem}.weight"], state[f"{stem}.bias"])

    seen = []
    for h in range(heads):
        query, key = project("query", h, x), project("key", h, other)
        value = project("value", h, other)
        rows = [torch.softmax(key @ one / len(one) ** 0.5, 0) @ value for one in query]
        seen.append(torch.stack(rows))
    stem = f"{name}.projection_matrix"
    return linear(torch.cat(seen, 1), state[f"{stem}.weight"], state[f"{stem}.bias"])


def fuse(
    state: Mapping[str, Tensor], modality: str, x: dict[str, Tensor], heads: int, layers: int
) -> Tensor:
    """One modality's stack over one dialogue."""

    def norm(name: str, y: Tensor) -> Tensor:
        weight, bias = state[f"{name}.layer_norm.weight"], state[f"{name}.layer_norm.bias"]
        return layer_norm(y, y.shape[1:], weight, bias)

    y = x[modality]
    for n in range(layers):
        stem = f"multiattn.multiattn_{modality}.multiattn_layers.{n}"
        for k, other in enumerate(ORDERS[modality], 1):
            y = norm(
                f"{stem}.add_norm_{k}", y + attention(state, f"{stem}.attn_{k}", y, x[other], heads)
            )
        w1, b1 = (state[f"{stem}.ff.linear_W1.{kind}"] for kind in ("weight", "bias"))
        w2, b2 = (state[f"{stem}.ff.linear_W2.{kind}"] for kind in ("weight", "bias"))
        back = linear(torch.relu(linear(y, w1, b1)), w2, b2)
        y = norm(f"{stem}.add_norm_3", y + back)
    return y


def multiemo(
    state: Mapping[str, Tensor],
    batch: Batch,
    parties: int,
    heads: int,
    layers: int,
    iemocap: bool,
    mask_padding: bool,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Logits, z and fused streams of all real utterances, dialogue after dialogue."""
    streams: dict[str, list[Tensor]] = {m: [] for m in ORDERS}
    for b, length in enumerate(batch.mask.sum(0).tolist()):
        turns = length if mask_padding else len(batch.mask)
        party = batch.party[:, b].tolist()
        x = {}
        for m in ORDERS:
            feature = batch.feature[m][:turns, b]
            x[m] = linear(feature, state[f"{m}_fc.weight"], state[f"{m}_fc.bias"])
            if iemocap or m != "text":
                x[m] = context(
                    state, f"{m}_dialoguernn", x[m], party, length, parties, bidirectional=iemocap
                )
        for m in ORDERS:
            streams[m].append(fuse(state, m, x, heads, layers)[:length])
    fused = {m: torch.cat(parts) for m, parts in streams.items()}
    z = linear(torch.cat(list(fused.values()), 1), state["fc.weight"], state["fc.bias"])
    hidden = torch.relu(linear(z, state["mlp.linear_1.weight"], state["mlp.linear_1.bias"]))
    return linear(hidden, state["mlp.linear_2.weight"], state["mlp.linear_2.bias"]), z, fused


def swfc(z: Tensor, label: Tensor, weight: Tensor, tau: float, gamma: float) -> Tensor:
    """Sample-weighted focal contrastive loss, pair by pair."""
    unit = normalize(z, dim=1)
    total = z.new_zeros(())
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        positive = [k for k, j in enumerate(others) if label[j] == label[i]]
        if not positive:
            continue
        p = torch.softmax(torch.stack([unit[i] @ unit[j] for j in others]) / tau, 0)
        terms = [torch.log(p[k]) * (1 - p[k]) ** gamma for k in positive]
        total = total + weight[label[i]] * sum(terms) / len(terms)
    return -total / len(z)


def soft_hgr(fused: list[Tensor]) -> Tensor:
    """Soft-HGR with its covariances between utterances written out."""
    count = len(fused[0])
    total = fused[0].new_zeros(())
    for i, x in enumerate(fused):
        for y in fused[i + 1 :]:
            inner = torch.stack([a @ b for a, b in zip(x, y, strict=True)]).mean()
            total = total + inner - torch.trace(torch.cov(x) @ torch.cov(y)) / count / 2
    return -total / count
