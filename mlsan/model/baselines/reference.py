"""The baselines by their definitions: one dialogue, one turn and one edge at a time, no dropout.

Each function takes a model's weights by name, one dialogue's features and the role of each of its
turns, and returns z and the logits.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from mlsan.model.interface import Features
from mlsan.model.reference import gru
from mlsan.vocabulary import MODALITIES

State = Mapping[str, Tensor]
Prediction = tuple[Float[Tensor, "turn hidden"], Float[Tensor, "turn class"]]


def bc_lstm(state: State, feature: Features, role: list[int], layers: int) -> Prediction:
    """BC-LSTM, which ignores the speaker."""
    return classify(state, bilstm(state, "context", side_by_side(feature), layers))


def dialogue_rnn(state: State, feature: Features, role: list[int]) -> Prediction:
    """DialogueRNN."""
    u = side_by_side(feature)
    forward = speaker_rnn(state, 0, u, role)
    backward = speaker_rnn(state, 1, u.flip(0), role[::-1]).flip(0)
    return classify(state, attend(state, "attend", torch.cat([forward, backward], 1)))


def speaker_rnn(
    state: State, stream: int, u: Float[Tensor, "turn inputs"], role: list[int]
) -> Float[Tensor, "turn outputs"]:
    """DialogueRNN's recurrence over the turns in the order of `u`, with the weights of `stream`."""
    prefix = "context."
    own = {k.removeprefix(prefix): v[stream] for k, v in state.items() if k.startswith(prefix)}
    d, d_e = own["query"].shape[0], own["e.weight_hh"].shape[1]
    g, e = u.new_zeros(d), u.new_zeros(d_e)
    q = {s: u.new_zeros(d) for s in set(role)}
    past: list[Tensor] = []
    out = []
    for u_t, s in zip(u, role, strict=True):
        c = u.new_zeros(d)
        if past:
            share = torch.softmax(torch.stack([u_t @ own["query"].T @ g_j for g_j in past]), 0)
            c = sum(a * g_j for a, g_j in zip(share, past, strict=True))
        g = gru(own, "g", torch.cat([u_t, q[s]]), g)
        q[s] = gru(own, "p", torch.cat([u_t, c]), q[s])
        e = gru(own, "e", q[s], e)
        past.append(g)
        out.append(e)
    return torch.stack(out)


def dialogue_gcn(
    state: State, feature: Features, role: list[int], roles: int, window: int, code: bool = False
) -> Prediction:
    """DialogueGCN, edge by edge: the paper's equations, or those of its code."""
    g = bilstm(state, "context", side_by_side(feature))
    turns = range(len(g))
    near = {i: [j for j in turns if abs(i - j) <= window] for i in turns}
    number = {
        (i, j, early): n
        for n, (i, j, early) in enumerate(
            (i, j, early) for i in range(roles) for j in range(roles) for early in (False, True)
        )
    }
    share = {}
    for i in turns:
        query = state["edge.weight"][i] if code else g[i] @ state["edge.weight"]
        a = torch.softmax(torch.stack([query @ g[j] for j in near[i]]), 0)
        share |= {(i, j): a_ij for a_ij, j in zip(a, near[i], strict=True)}
    first = []
    for i in turns:
        h = affine(state, "relational.own", g[i])
        for j in near[i]:
            edge = (j, i) if code else (i, j)
            mix = state["relational.mix"][number[*(role[t] for t in edge), edge[0] < edge[1]]]
            weight = sum(m * v for m, v in zip(mix, state["relational.basis"], strict=True))
            h = h + share[edge] * (weight @ g[j])
        first.append(h)
    second = [
        affine(state, "own", first[i]) + sum(affine(state, "near", first[j]) for j in near[i])
        for i in turns
    ]
    both = torch.cat([g, torch.stack(second)], 1)
    return classify(state, attend(state, "attend", both, bounded=code))


def mmgcn(state: State, feature: Features, role: list[int], layers: int) -> Prediction:
    """MMGCN, node by node and edge by edge."""
    names = [m for m in MODALITIES if m in feature]
    nodes: dict[tuple[str, int], Tensor] = {}
    for m in names:
        n = affine(state, f"project.{m}", feature[m])
        if m == "text":
            n = bilstm(state, "context", n)
            n = torch.stack([x + state["speaker.weight"][s] for x, s in zip(n, role, strict=True)])
        nodes |= {(m, t): x for t, x in enumerate(n)}

    edges = {}
    for m, t in nodes:
        for other, turn in nodes:
            if m == other or t == turn:
                x, y = nodes[m, t], nodes[other, turn]
                cosine = x @ y / (x.norm() * y.norm())
                edges[m, t, other, turn] = 1 - torch.acos(0.99999 * cosine) / math.pi
    degree = {node: sum(a for (m, t, *_), a in edges.items() if (m, t) == node) for node in nodes}

    start = {node: torch.relu(affine(state, "graph.start", x)) for node, x in nodes.items()}
    h = start
    for layer in range(1, layers + 1):
        theta = math.log(0.5 / layer + 1)
        new = {}
        for node, h0 in start.items():
            message = torch.zeros_like(h0)
            for other in nodes:
                if (*node, *other) in edges:
                    a = edges[*node, *other] / torch.sqrt(degree[node] * degree[other])
                    message = message + a * h[other]
            support = torch.cat([message, h0]) @ state["graph.weight"][layer - 1]
            residual = 0.9 * message + 0.1 * h0
            new[node] = torch.relu(theta * support + (1 - theta) * residual)
        h = new
    z = torch.stack(
        [
            torch.cat([part for m in names for part in (nodes[m, t], h[m, t])])
            for t in range(len(role))
        ]
    )
    return z, affine(state, "classify.2", torch.relu(z))


# Layers that they share


def affine(state: State, name: str, x: Tensor) -> Tensor:
    """x W^T + b, or x W^T if there is no b."""
    return linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def side_by_side(feature: Features) -> Float[Tensor, "turn inputs"]:
    """All modalities in one vector per turn."""
    return torch.cat([feature[m] for m in MODALITIES if m in feature], 1)


def lstm(
    state: State, name: str, x: Float[Tensor, "turn inputs"], suffix: str
) -> Float[Tensor, "turn feature"]:
    """One layer in one direction; gates in the order input, forget, cell, output."""
    h = c = x.new_zeros(state[f"{name}.weight_hh{suffix}"].shape[1])
    out = []
    for u in x:
        gates = linear(u, state[f"{name}.weight_ih{suffix}"], state[f"{name}.bias_ih{suffix}"])
        gates = gates + linear(
            h, state[f"{name}.weight_hh{suffix}"], state[f"{name}.bias_hh{suffix}"]
        )
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return torch.stack(out)


def bilstm(
    state: State, name: str, x: Float[Tensor, "turn inputs"], layers: int = 2
) -> Float[Tensor, "turn feature"]:
    """A bidirectional LSTM."""
    for n in range(layers):
        forward = lstm(state, f"{name}.lstm", x, f"_l{n}")
        backward = lstm(state, f"{name}.lstm", x.flip(0), f"_l{n}_reverse").flip(0)
        x = torch.cat([forward, backward], 1)
    return x


def attend(
    state: State, name: str, x: Float[Tensor, "turn feature"], bounded: bool = False
) -> Float[Tensor, "turn feature"]:
    """Each turn's weighted mean of its dialogue; `bounded` scores pass through tanh."""
    out = []
    for one in x:
        query = affine(state, f"{name}.query", one)
        score = torch.stack([query @ other for other in x])
        share = torch.softmax(torch.tanh(score) if bounded else score, 0)
        out.append(sum(a * other for a, other in zip(share, x, strict=True)))
    return torch.stack(out)


def classify(state: State, x: Float[Tensor, "turn feature"]) -> Prediction:
    """The hidden layer, which gives z, and the linear layer to the classes."""
    z = torch.relu(affine(state, "hidden", x))
    return z, affine(state, "classify.1", z)
