"""The other models of Table 1 by the definition: one dialogue, one turn, one edge at a time.

Each takes a model's parameters by name, a dialogue's features by modality and its parties, and
gives z and the logits of its turns. No dropout.
"""

import math
from collections.abc import Mapping

import torch
from oracles import gru
from torch import Tensor
from torch.nn.functional import linear

State = Mapping[str, Tensor]


def affine(state: State, name: str, x: Tensor) -> Tensor:
    return linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def side_by_side(feature: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([feature[m] for m in ("text", "audio", "visual") if m in feature], 1)


def lstm(state: State, name: str, x: Tensor, way: str) -> Tensor:
    """One layer in one direction; gates in the order input, forget, cell, output."""
    h = c = x.new_zeros(state[f"{name}.weight_hh{way}"].shape[1])
    out = []
    for u in x:
        gates = linear(u, state[f"{name}.weight_ih{way}"], state[f"{name}.bias_ih{way}"])
        gates = gates + linear(h, state[f"{name}.weight_hh{way}"], state[f"{name}.bias_hh{way}"])
        i, f, g, o = gates.chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return torch.stack(out)


def bilstm(state: State, name: str, x: Tensor, layers: int = 2) -> Tensor:
    for n in range(layers):
        forward = lstm(state, f"{name}.lstm", x, f"_l{n}")
        backward = lstm(state, f"{name}.lstm", x.flip(0), f"_l{n}_reverse").flip(0)
        x = torch.cat([forward, backward], 1)
    return x


def attend(state: State, name: str, x: Tensor) -> Tensor:
    """Each turn's weighted mean of its dialogue."""
    out = []
    for one in x:
        query = affine(state, f"{name}.query", one)
        share = torch.softmax(torch.stack([query @ other for other in x]), 0)
        out.append(sum(s * other for s, other in zip(share, x, strict=True)))
    return torch.stack(out)


def head(state: State, x: Tensor) -> tuple[Tensor, Tensor]:
    z = torch.relu(affine(state, "hidden", x))
    return z, affine(state, "classify.1", z)


def bc_lstm(state: State, feature: Mapping[str, Tensor], party: list[int], layers: int):
    return head(state, bilstm(state, "context", side_by_side(feature), layers))


def party_rnn(state: State, way: int, u: Tensor, party: list[int]) -> Tensor:
    """DialogueRNN in the direction in which `u` comes, with the weights of stream `way`."""
    own = {k.removeprefix("context."): v[way] for k, v in state.items() if k.startswith("context.")}
    d, d_e = own["query"].shape[0], own["e.weight_hh"].shape[1]
    g, e = u.new_zeros(d), u.new_zeros(d_e)
    q = {p: u.new_zeros(d) for p in set(party)}
    past: list[Tensor] = []
    out = []
    for u_t, s in zip(u, party, strict=True):
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


def dialogue_rnn(state: State, feature: Mapping[str, Tensor], party: list[int]):
    u = side_by_side(feature)
    forward = party_rnn(state, 0, u, party)
    backward = party_rnn(state, 1, u.flip(0), party[::-1]).flip(0)
    return head(state, attend(state, "attend", torch.cat([forward, backward], 1)))


def dialogue_gcn(
    state: State, feature: Mapping[str, Tensor], party: list[int], parties: int, window: int
):
    g = bilstm(state, "context", side_by_side(feature))
    turns = range(len(g))
    near = {i: [j for j in turns if abs(i - j) <= window] for i in turns}
    number = {
        (i, j, early): n
        for n, (i, j, early) in enumerate(
            (i, j, early) for i in range(parties) for j in range(parties) for early in (False, True)
        )
    }
    first = []
    for i in turns:
        share = torch.softmax(torch.stack([g[i] @ affine(state, "edge", g[j]) for j in near[i]]), 0)
        h = affine(state, "relational.own", g[i])
        for a, j in zip(share, near[i], strict=True):
            mix = state["relational.mix"][number[party[i], party[j], i < j]]
            weight = sum(m * v for m, v in zip(mix, state["relational.basis"], strict=True))
            h = h + a * (weight @ g[j])
        first.append(h)
    second = [
        affine(state, "own", first[i]) + sum(affine(state, "near", first[j]) for j in near[i])
        for i in turns
    ]
    return head(state, attend(state, "attend", torch.cat([g, torch.stack(second)], 1)))


def mmgcn(state: State, feature: Mapping[str, Tensor], party: list[int], layers: int):
    names = [m for m in ("text", "audio", "visual") if m in feature]
    nodes: dict[tuple[str, int], Tensor] = {}
    for m in names:
        n = affine(state, f"project.{m}", feature[m])
        if m == "text":
            n = bilstm(state, "context", n)
            n = torch.stack([x + state["speaker.weight"][p] for x, p in zip(n, party, strict=True)])
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
            for t in range(len(party))
        ]
    )
    return z, affine(state, "classify.2", torch.relu(z))
