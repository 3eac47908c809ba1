"""MultiEMO, ML-SAN and their losses by their definitions: read this first.

Everything is written as short loops, for one dialogue, one utterance, one attention head and one
pair at a time. `multiemo`, `mlsan` and `losses` compute the same faster; tests compare outputs and
gradients with these functions. There is no dropout.

`state` holds the weights under the names of the published MultiEMO code, such as `text_fc.weight`:
`checkpoints.published_state(model)` gives it for any of our models.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, layer_norm, log_softmax

from mlsan.corpus.types import Batch
from mlsan.model.interface import Features, Output, Styles
from mlsan.model.losses import MultiEMOLoss
from mlsan.model.mlsan import MLSANSettings
from mlsan.model.multiemo import MultiEMOSettings
from mlsan.vocabulary import UNKNOWN, Modality

State = Mapping[str, Tensor]


def multiemo(state: State, batch: Batch, settings: MultiEMOSettings) -> Output:
    """MultiEMO's output for all utterances, dialogue after dialogue."""
    outputs = []
    for dialogue in dialogues(batch, settings):
        x = project(state, dialogue.feature)
        h = add_context(state, x, dialogue, settings)
        fused = fuse(state, h, settings)
        z, logits = classify(state, fused)
        stages = {"raw": dialogue.feature, "calibrated": dialogue.feature, "context": h, "gated": h}
        outputs.append(Output(logits, z, fused, stages))
    return concatenate(outputs, batch.length)


def mlsan(state: State, batch: Batch, settings: MLSANSettings) -> Output:
    """ML-SAN's output, without an adversary. Eq. 1-4 act where the settings turn them on."""
    outputs = []
    for dialogue in dialogues(batch, settings):
        raw = dialogue.feature
        if settings.film_site == "raw":
            calibrated = calibrate(state, raw, dialogue, settings)  # Eq. 1-2
            x = project(state, calibrated)
        else:
            x = calibrated = calibrate(state, project(state, raw), dialogue, settings)
        h = add_context(state, x, dialogue, settings)
        gated = gate(state, h, dialogue, settings)  # Eq. 3
        fused = fuse(state, gated, settings)
        z, logits = classify(state, fused)
        named = None
        if settings.aux:
            joined = torch.cat(list(fused.values()), 1)
            named = linear(state, "speaker_head", z if settings.aux_input == "z" else joined)
        stages = {"raw": raw, "calibrated": calibrated, "context": h, "gated": gated}
        outputs.append(Output(logits, z, fused, stages, speaker_logits=named))
    return concatenate(outputs, batch.length)


@dataclass(frozen=True)
class PaddedDialogue:
    """One dialogue of a batch; turns from `length` on are padding, of role 0 and speaker 0."""

    feature: Features
    role: list[int]
    speaker: list[int]
    length: int
    style: Styles


def dialogues(batch: Batch, settings: MultiEMOSettings) -> Iterator[PaddedDialogue]:
    """The dialogues of a batch: without padding, or in the published form with it."""
    for b, length in enumerate(batch.length):
        turns = length if settings.mask_padding else len(batch.mask)
        yield PaddedDialogue(
            {m: x[:turns, b] for m, x in batch.feature.items() if m in settings.modalities},
            batch.party[:turns, b].tolist(),
            batch.speaker[:turns, b].tolist(),
            length,
            {m: x[:turns, b] for m, x in batch.style.items()},
        )


def linear(state: State, name: str, x: Float[Tensor, "*rows inputs"]) -> Tensor:
    """x W^T + b."""
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


# ML-SAN, section 3.1


def calibrate(
    state: State, x: Features, dialogue: PaddedDialogue, settings: MLSANSettings
) -> Features:
    """FiLM (Eq. 1-2) of `film_modalities`, utterance by utterance. Padding is not calibrated."""
    if not settings.film:
        return x
    out = dict(x)
    for m in x:
        if m in settings.film_modalities:
            rows = list(x[m])
            for t in range(dialogue.length):
                e_s = state["embedding.weight"][dialogue.speaker[t]]
                gamma, beta = linear(state, f"film.{m}.project", e_s).chunk(2)  # Eq. 1
                gamma_0, beta_0 = film_start(state, m, dialogue, t, settings)
                gamma, beta = gamma_0 + gamma, beta_0 + beta
                rows[t] = gamma * rows[t] + beta  # Eq. 2
            out[m] = torch.stack(rows)
    return out


def film_start(
    state: State, modality: Modality, dialogue: PaddedDialogue, turn: int, settings: MLSANSettings
) -> tuple[Tensor | float, Tensor | float]:
    """gamma_0 and beta_0, to which Eq. 1 adds what it learns."""
    if settings.film_start == "printed":
        return 0.0, 0.0
    if settings.film_start == "zero" or modality not in dialogue.style:
        return 1.0, 0.0
    mu_0, log_0 = (state[f"film.{modality}.population"][row] for row in (0, 3))
    mu, sigma = dialogue.style[modality][turn]
    gamma_0 = torch.exp(log_0 / 2) / sigma
    return gamma_0, mu_0 - gamma_0 * mu


# ML-SAN, section 3.2


def gate(state: State, h: Features, dialogue: PaddedDialogue, settings: MLSANSettings) -> Features:
    """The speaker gate (Eq. 3), utterance by utterance."""
    if not settings.gate:
        return h
    out = {}
    for k, m in enumerate(h):
        rows = []
        for h_t, speaker in zip(h[m], dialogue.speaker, strict=True):
            e_s = state["embedding.weight"][speaker]
            g = state["gate.by_speaker.weight"][k] @ e_s + state["gate.by_speaker.bias"][k]
            if settings.gate_input == "speaker+context":
                g = g + state["gate.by_context"][k] @ h_t
            rows.append(torch.sigmoid(g) * h_t)  # Eq. 3
        out[m] = torch.stack(rows)
    return out


# ML-SAN, section 3.3


def speaker_loss(
    logits: Float[Tensor, "utterance speaker"], speaker: Int[Tensor, "utterance"]
) -> Float[Tensor, ""]:
    """L_spk of Eq. 4: mean of -log p over the utterances of known speakers; 0 without any."""
    terms = [
        -log_softmax(row, 0)[s]
        for row, s in zip(logits, speaker.tolist(), strict=True)
        if s != UNKNOWN
    ]
    return torch.stack(terms).mean() if terms else logits.sum() * 0


def total_loss(
    settings: MLSANSettings,
    erc: Float[Tensor, ""],
    output: Output,
    speaker: Int[Tensor, "utterance"],
) -> Float[Tensor, ""]:
    """L_total = L_ERC + lambda L_spk (Eq. 4)."""
    if output.speaker_logits is None:
        return erc
    return erc + settings.lam * speaker_loss(output.speaker_logits, speaker)


# MultiEMO


def project(state: State, x: Features) -> Features:
    """Each modality as d features."""
    return {m: linear(state, f"{m}_fc", x[m]) for m in x}


def add_context(
    state: State, x: Features, dialogue: PaddedDialogue, settings: MultiEMOSettings
) -> Features:
    """DialogueRNN of each modality that uses it; the others stay as they are."""
    h = dict(x)
    for m in x:
        if m == "text" and not settings.text_context:
            continue
        name, n = f"{m}_dialoguernn", dialogue.length
        h[m] = dialogue_rnn(state, f"{name}.dialog_rnn_f.dialogue_cell", x[m], dialogue.role, n)
        if settings.bidirectional:
            # Backwards from the last utterance to the first; 0 on padding.
            turned, role = x[m][:n].flip(0), dialogue.role[:n][::-1]
            back = dialogue_rnn(state, f"{name}.dialog_rnn_r.dialogue_cell", turned, role, n)
            back = torch.cat([back.flip(0), torch.zeros_like(x[m][n:])])
            h[m] = linear(state, f"{name}.linear", torch.cat([h[m], back], 1))
        h[m] = torch.relu(h[m])
    return h


def dialogue_rnn(
    state: State, name: str, u: Float[Tensor, "turn feature"], role: list[int], length: int
) -> Float[Tensor, "turn feature"]:
    """DialogueRNN without listener updates, one dialogue in one direction.

    On padding, turns from `length` on, the state of role 0 is read and no speaker's state changes.
    """
    zero = u.new_zeros(u.shape[1])
    g = e = zero
    q = dict.fromkeys([0, *role], zero)  # each speaker's state
    past: list[Tensor] = []
    out = []
    for t, u_t in enumerate(u):
        s = role[t] if t < length else 0
        c = zero
        if past:
            score = state[f"{name}.attention.scalar.weight"][0]
            share = torch.softmax(torch.stack([score @ g_j for g_j in past]), 0)
            c = sum(a * g_j for a, g_j in zip(share, past, strict=True))
        g = gru(state, f"{name}.g_cell", torch.cat([u_t, q[s]]), g)
        if t < length:
            q[s] = gru(state, f"{name}.p_cell", torch.cat([u_t, c]), q[s])
        e = gru(state, f"{name}.e_cell", q[s], e)
        past.append(g)
        out.append(e)
    return torch.stack(out)


def gru(
    state: State, name: str, x: Float[Tensor, "inputs"], h: Float[Tensor, "feature"]
) -> Float[Tensor, "feature"]:
    """One step of a GRU cell: the new state from input x and old state h."""
    from_x = (state[f"{name}.weight_ih"] @ x + state[f"{name}.bias_ih"]).chunk(3)
    from_h = (state[f"{name}.weight_hh"] @ h + state[f"{name}.bias_hh"]).chunk(3)
    r = torch.sigmoid(from_x[0] + from_h[0])
    z = torch.sigmoid(from_x[1] + from_h[1])
    n = torch.tanh(from_x[2] + r * from_h[2])
    return (1 - z) * n + z * h


def fuse(state: State, h: Features, settings: MultiEMOSettings) -> Features:
    """Each modality's stack of cross-attention layers, which attend to the unfused others."""
    return {m: _fuse_one(state, m, h, settings) for m in h}


def _fuse_one(
    state: State, modality: Modality, h: Features, settings: MultiEMOSettings
) -> Float[Tensor, "turn feature"]:
    def add_and_norm(name: str, x: Tensor, y: Tensor) -> Tensor:
        weight, bias = (state[f"{name}.layer_norm.{kind}"] for kind in ("weight", "bias"))
        return layer_norm(x + y, weight.shape, weight, bias)

    # In the order text, audio, visual. A single modality attends to itself.
    others = [m for m in h if m != modality] or [modality]
    x = h[modality]
    for layer in range(settings.layers):
        name = f"multiattn.multiattn_{modality}.multiattn_layers.{layer}"
        for k, other in enumerate(others, 1):
            y = attention(state, f"{name}.attn_{k}", x, h[other], settings.heads)
            x = add_and_norm(f"{name}.add_norm_{k}", x, y)
        wide = torch.relu(linear(state, f"{name}.ff.linear_W1", x))
        x = add_and_norm(f"{name}.add_norm_3", x, linear(state, f"{name}.ff.linear_W2", wide))
    return x


def attention(
    state: State,
    name: str,
    x: Float[Tensor, "turn feature"],
    other: Float[Tensor, "turn feature"],
    heads: int,
) -> Float[Tensor, "turn feature"]:
    """Multi-head attention from x to `other`, head by head and query by query."""
    by_head = []
    for h in range(heads):
        head = f"{name}.attention_heads.{h}"
        query = linear(state, f"{head}.query_matrix", x)
        key = linear(state, f"{head}.key_matrix", other)
        value = linear(state, f"{head}.value_matrix", other)
        rows = [torch.softmax(key @ q / len(q) ** 0.5, 0) @ value for q in query]
        by_head.append(torch.stack(rows))
    return linear(state, f"{name}.projection_matrix", torch.cat(by_head, 1))


def classify(
    state: State, fused: Features
) -> tuple[Float[Tensor, "turn feature"], Float[Tensor, "turn class"]]:
    """z, the fused streams in one vector, and the emotions' logits."""
    z = linear(state, "fc", torch.cat(list(fused.values()), 1))
    return z, linear(state, "mlp.linear_2", torch.relu(linear(state, "mlp.linear_1", z)))


# MultiEMO's losses


def erc_loss(
    settings: MultiEMOLoss,
    output: Output,
    label: Int[Tensor, "utterance"],
    class_weight: Float[Tensor, "class"],
) -> Float[Tensor, ""]:
    """L_ERC, the weighted sum of SWFC, Soft-HGR and cross-entropy."""
    terms = [-log_softmax(row, 0)[y] for row, y in zip(output.logits, label, strict=True)]
    return (
        settings.swfc * swfc(output.z, label, class_weight, settings.tau, settings.gamma)
        + settings.hgr * soft_hgr(list(output.fused.values()))
        + settings.ce * torch.stack(terms).mean()
    )


def swfc(
    z: Float[Tensor, "utterance feature"],
    label: Int[Tensor, "utterance"],
    class_weight: Float[Tensor, "class"],
    tau: float,
    gamma: float,
) -> Float[Tensor, ""]:
    """Sample-weighted focal contrastive loss, pair by pair (see `losses.swfc`)."""
    total = z.new_zeros(())
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        positives = [k for k, j in enumerate(others) if label[j] == label[i]]
        if not positives:
            continue
        cosine = torch.stack([cosine_similarity(z[i], z[j], 0) for j in others])
        p = torch.softmax(cosine / tau, 0)
        terms = [torch.log(p[k]) * (1 - p[k]) ** gamma for k in positives]
        total = total + class_weight[label[i]] * sum(terms) / len(terms)
    return -total / len(z)


def soft_hgr(fused: list[Float[Tensor, "utterance feature"]]) -> Float[Tensor, ""]:
    """Soft-HGR, with its covariances between utterances written out (see `losses.soft_hgr`)."""
    count = len(fused[0])
    total = fused[0].new_zeros(())
    for i, x in enumerate(fused):
        for y in fused[i + 1 :]:
            inner = torch.stack([a @ b for a, b in zip(x, y, strict=True)]).mean()
            total = total + inner - torch.trace(torch.cov(x) @ torch.cov(y)) / (2 * count)
    return -total / count


# From dialogues back to a batch


def concatenate(outputs: list[Output], length: tuple[int, ...]) -> Output:
    """Dialogue after dialogue, without padding."""

    def cat(parts: list) -> dict | Tensor | None:
        if parts[0] is None:
            return None
        if isinstance(parts[0], dict):
            return {key: cat([part[key] for part in parts]) for key in parts[0]}
        return torch.cat([x[:n] for x, n in zip(parts, length, strict=True)])

    fields = vars(outputs[0])
    return Output(**{name: cat([getattr(output, name) for output in outputs]) for name in fields})
