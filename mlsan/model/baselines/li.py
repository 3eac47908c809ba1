"""Li, Funakoshi and Okumura (Findings of EACL 2026): distillation from text, hierarchical fusion.

Departures from the paper and from its public code (llllxx1628/multimodalERC), with whose fusion,
and whose losses but for its 1e-7 in p, outputs and gradients agree to rounding otherwise:

- LipSyncNet, which finds the speaker's face, needs raw video: the visual features are given.
- Teacher, students and fusion are trained together. The public code trains one after the other,
  and its fusion reads the raw features, so that distillation changes no prediction. Here the
  fusion reads the features of teacher and students.
- Graphs join the utterances of a dialogue. In the public code they join those of a batch of random
  utterances, and features are aligned across that batch and normalised over it. Here features are
  not aligned, and layers are normalised, so that predictions do not depend on the batch.
- All layers of the graph encoders are `hidden` wide, after a linear layer; in the public code, up
  to 1024. Its mean of three linear classifiers is one linear layer.
- The mixture of experts is on, as in the paper; the released settings turn it off. They also turn
  off the contrastive loss, which is left out.
- The public code augments features, clips gradients, averages weights over steps, has a learning
  rate per part and schedules it. Here the project's training loop does none of these.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, kl_div, normalize
from torch_geometric.nn import DenseGATConv, DenseGraphConv

from mlsan.corpus.types import Batch
from mlsan.model.baselines.common import LabelledOutput, Turns
from mlsan.model.fast.dropout import Dropout
from mlsan.model.fast.stacked import StackedLayerNorm, StackedLinear
from mlsan.model.interface import EmotionModel, Features, ModelSettings, Sizes
from mlsan.vocabulary import Modality

# By modality: nearest neighbours and dropout of the graph encoder.
ENCODERS = {"text": (12, 0.15), "audio": (6, 0.11), "visual": (7, 0.15)}
GAT_HEADS, ADJACENT = 4, 0.53
ROUTED = 2  # experts per utterance
# The composite loss, the focus of the fused one, and its share and strength of label smoothing.
POLY_SHARE, POLY_FOCUS, FOCUS, SMOOTH, SMOOTHING = 1.95, 1.40, 2.5, 0.2, 0.1
# Distillation: temperature, and the share of the labels.
TEMPERATURE, HARD = 1.82, 0.58


class LiSettings(ModelSettings):
    """The sizes of the released settings, which are for MELD."""

    name: str = "Li et al."
    hidden: int = Field(256, gt=0, description="width of the graph encoders")
    depth: int = Field(
        3, gt=0, description="of the graph encoders; that of text has one more layer"
    )
    d: int = Field(256, gt=0, description="width of the fusion")
    heads: int = Field(8, gt=0, description="in the fusion")
    layers: int = Field(3, gt=0, description="of the transformer over modalities")
    feedforward: int = Field(1024, gt=0, description="hidden width in that transformer")
    experts: int = Field(4, gt=0, description="per modality; 1: no mixture of experts")
    dropout: float = Field(0.15, ge=0, lt=1, description="in the fusion")
    class_weight: tuple[float, ...] = Field((), description="in the losses of single modalities")

    @model_validator(mode="after")
    def _heads_divide_widths(self) -> "LiSettings":
        for field, heads in (("d", self.heads), ("hidden", GAT_HEADS)):
            if getattr(self, field) % heads:
                raise ValueError(f"{field}={getattr(self, field)} must be a multiple of {heads}")
        return self


@dataclass(frozen=True, kw_only=True)
class LiOutput(LabelledOutput):
    """`single` has the logits of teacher and students, `gated` those of the gated features."""

    gated: dict[str, Float[Tensor, "utterance class"]]


class Li(EmotionModel):
    """A graph encoder per modality, of which that of text teaches the others; then fusion.

    Each modality's features h pass through `Experts` and a gate, p = E(h) * G(E(h)). With
    c = sum of w_m p_m, where w = softmax(MLP([p_m for all m])), they are gated twice more:

        p_m <- p_m sigmoid(MLP([p_m; c]))            one number per utterance
        g_m = p_m * (sigmoid(MLP([p_m; c])) + .1)    feature by feature

    Each g_m attends to the other modalities of its utterance, a_m = MHA(g_m, others) + .2 g_m. A
    transformer over the a_m, attention by three learnt queries, and an MLP give z.
    """

    Settings = LiSettings

    def __init__(self, settings: LiSettings, sizes: Sizes):
        super().__init__()
        self.settings, self.modalities = settings, sizes.used(settings)
        d, hidden, classes, p = settings.d, settings.hidden, sizes.classes, settings.dropout
        count = len(self.modalities)

        def each(layer) -> nn.ModuleDict:
            return nn.ModuleDict({m: layer(m) for m in self.modalities})

        self.encode = each(lambda m: GraphEncoder(m, sizes.features[m], settings))
        self.single = each(lambda m: nn.Linear(hidden, classes))
        self.experts = each(lambda m: Experts(hidden, d, settings.experts))
        self.select = each(lambda m: nn.Sequential(mlp(d, d // 2, d, nn.ReLU()), nn.Sigmoid()))
        self.weigh = nn.Sequential(
            *(nn.Linear(count * d, d), nn.LayerNorm(d), nn.GELU(), Dropout(0.1)),
            *(nn.Linear(d, d // 2), nn.GELU(), nn.Linear(d // 2, count), nn.Softmax(-1)),
        )
        self.pass_on = each(lambda m: nn.Sequential(mlp(2 * d, d, 1, nn.GELU()), nn.Sigmoid()))
        self.gate = each(lambda m: nn.Sequential(mlp(2 * d, d, d, nn.GELU(), p), nn.Sigmoid()))
        self.gated = each(
            lambda m: nn.Sequential(
                *(nn.Linear(d, d // 2), nn.GELU(), Dropout(p / 2), nn.Linear(d // 2, classes))
            )
        )
        if count > 1:
            self.cross = each(lambda m: attention(settings))
        self.mix = nn.ModuleList(
            nn.TransformerEncoderLayer(
                *(d, settings.heads, settings.feedforward, p, "gelu"),
                batch_first=True,
                norm_first=True,
            )
            for _ in range(settings.layers)
        )
        self.queries = nn.Parameter(torch.randn(3, d))
        self.pool = attention(settings)
        self.finish = nn.Sequential(
            mlp(3 * d, 2 * d, d, nn.GELU(), p), nn.LayerNorm(d), Dropout(p / 2)
        )
        self.classify = nn.Linear(d, classes)

    def forward(self, batch: Batch) -> LiOutput:
        turns = Turns.of(batch)
        raw = {m: turns.rows(batch.feature[m].transpose(0, 1)) for m in self.modalities}
        h = {m: self.encode[m](x, turns) for m, x in raw.items()}
        g = self.gates(h)
        tokens = self.attend(g)
        for layer in self.mix:
            tokens = layer(tokens)
        queries = self.queries.expand(len(tokens), -1, -1)
        z = self.finish(self.pool(queries, tokens, tokens, need_weights=False)[0].flatten(1))
        return LiOutput(
            logits=self.classify(z),
            z=z,
            fused=dict(zip(self.modalities, tokens.unbind(1), strict=True)),
            stages={"raw": raw, "context": h, "gated": g},
            label=turns.rows(batch.label.T.unsqueeze(-1)).squeeze(-1).long(),
            single={m: self.single[m](self.encode[m].dropout(x)) for m, x in h.items()},
            gated={m: self.gated[m](x) for m, x in g.items()},
        )

    def gates(self, h: Features) -> Features:
        """g_m of the encoders' features."""
        p = {m: self.experts[m](x) for m, x in h.items()}
        p = {m: x * self.select[m](x) for m, x in p.items()}
        weight = self.weigh(torch.cat(list(p.values()), -1)).unsqueeze(-1)
        c = (weight * torch.stack(list(p.values()), 1)).sum(1)
        p = {m: x * self.pass_on[m](torch.cat([x, c], -1)) for m, x in p.items()}
        return {m: x * (self.gate[m](torch.cat([x, c], -1)) + 0.1) for m, x in p.items()}

    def attend(self, g: Features) -> Float[Tensor, "utterance modality feature"]:
        """a_m; a single modality stays as it is."""
        if len(g) == 1:
            return torch.stack(list(g.values()), 1)
        seen = []
        for m, x in g.items():
            others = torch.stack([other for k, other in g.items() if k != m], 1)
            query = x.unsqueeze(1)
            seen.append(self.cross[m](query, others, others, need_weights=False)[0] + 0.2 * query)
        return torch.cat(seen, 1)

    def total_loss(
        self, erc: Float[Tensor, ""], output: LiOutput, speaker: Int[Tensor, "utterance"]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The losses of fusion, of the gated features, and of teacher and students.

        Fusion: .8 C (mean of (1 - p)^2.5, taken as constant) + .2 smoothed cross-entropy, with C
        the `composite` loss on L_ERC. Gated features and teacher: C. Students: .58 C + .42 tau^2
        KL(teacher || student), both at temperature tau; the teacher is not trained by it. Without
        text there is no teacher, and C alone is left.
        """
        label, weight = output.label, self.settings.class_weight
        weight = erc.new_tensor(weight) if weight else None

        def supervised(logits: Float[Tensor, "utterance class"]) -> Float[Tensor, ""]:
            return composite(cross_entropy(logits, label, weight), logits, label)

        focus = (missed(output.logits, label) ** FOCUS).mean().detach()
        smooth = cross_entropy(output.logits, label, label_smoothing=SMOOTHING)
        fusion = (1 - SMOOTH) * focus * composite(erc, output.logits, label) + SMOOTH * smooth
        gated = sum(supervised(logits) for logits in output.gated.values())
        single = erc.new_zeros(())
        for m, logits in output.single.items():
            share = HARD if m != "text" and "text" in output.single else 1.0
            single = single + share * supervised(logits)
            if share < 1:
                taught = (output.single["text"].detach() / TEMPERATURE).softmax(-1)
                learnt = (logits / TEMPERATURE).log_softmax(-1)
                apart = kl_div(learnt, taught, reduction="batchmean")
                single = single + (1 - share) * TEMPERATURE**2 * apart
        parts = {"fusion": fusion, "gated": gated, "single": single}
        return fusion + gated + single, parts


class GraphEncoder(nn.Module):
    """Layers x <- LN(dropout(ReLU(conv(x))) + x) on the graph of similar and adjacent turns.

    Text and visual have graph attention, audio graph convolution, which weights its edges.
    """

    def __init__(self, modality: Modality, inputs: int, settings: LiSettings):
        super().__init__()
        hidden, layers = settings.hidden, settings.depth + (modality == "text")
        self.neighbours, dropout = ENCODERS[modality]
        self.start = nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, hidden))
        self.convolve = nn.ModuleList(
            DenseGraphConv(hidden, hidden)
            if modality == "audio"
            else DenseGATConv(hidden, hidden // GAT_HEADS, GAT_HEADS)
            for _ in range(layers)
        )
        self.norm = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.dropout = Dropout(dropout)

    def forward(
        self, raw: Float[Tensor, "utterance inputs"], turns: Turns
    ) -> Float[Tensor, "utterance hidden"]:
        normal, project = self.start
        u = normal(raw)
        edges = graph(u.detach(), turns, self.neighbours)
        x = project(u)
        for convolve, norm in zip(self.convolve, self.norm, strict=True):
            message = turns.rows(convolve(turns.grid(x), edges))
            x = norm(self.dropout(torch.relu(message)) + x)
        return x


class Experts(nn.Module):
    """The two experts with the highest scores, weighted by the softmax of these scores."""

    def __init__(self, inputs: int, outputs: int, experts: int):
        super().__init__()
        self.expert = StackedLinear(experts, inputs, outputs)
        self.norm = StackedLayerNorm(experts, outputs)
        self.dropout = Dropout(0.1)
        self.route = nn.Sequential(
            nn.Linear(inputs, inputs // 2), nn.GELU(), nn.Linear(inputs // 2, experts)
        )

    def forward(self, x: Float[Tensor, "utterance inputs"]) -> Float[Tensor, "utterance outputs"]:
        score = self.route(x)
        best, which = score.topk(min(ROUTED, score.shape[1]))
        share = torch.zeros_like(score).scatter(1, which, best.softmax(-1).to(score.dtype))
        answer = self.norm(self.expert(x.expand(score.shape[1], *x.shape)))
        return torch.einsum("ne,enf->nf", share, self.dropout(gelu(answer)))


def graph(
    x: Float[Tensor, "utterance feature"], turns: Turns, neighbours: int
) -> Float[Tensor, "dialogue target source"]:
    """Weights of the edges from a turn to the most similar ones and to adjacent ones; others 0.

    It is the cosine, if the target is among the most similar, plus `ADJACENT`, if it is adjacent.
    """
    unit = turns.grid(normalize(x))
    cosine = unit @ unit.transpose(1, 2)
    turn = torch.arange(cosine.shape[1], device=x.device)
    distance = (turn.unsqueeze(1) - turn).abs()
    possible = turns.mask.unsqueeze(1) & turns.mask.unsqueeze(2) & (distance > 0)
    cosine = cosine.masked_fill(~possible, -torch.inf)
    nearest = cosine.topk(min(neighbours, len(turn)))[1]
    near = torch.zeros_like(possible).scatter(2, nearest, True)
    weight = torch.where(near & possible, cosine, 0.0) + ADJACENT * (possible & (distance == 1))
    return weight.transpose(1, 2)


def missed(
    logits: Float[Tensor, "utterance class"], label: Int[Tensor, "utterance"]
) -> Float[Tensor, "utterance"]:
    """1 - p, with p the true emotion's probability."""
    return 1 - logits.softmax(-1).gather(1, label.unsqueeze(1)).squeeze(1)


def composite(
    cross_entropy: Float[Tensor, ""],
    logits: Float[Tensor, "utterance class"],
    label: Int[Tensor, "utterance"],
) -> Float[Tensor, ""]:
    """Cross-entropy + 1.95 mean of (1 - p)^2.40, p the true emotion's probability."""
    return cross_entropy + POLY_SHARE * (missed(logits, label) ** (1 + POLY_FOCUS)).mean()


def mlp(
    inputs: int, hidden: int, outputs: int, activation: nn.Module, dropout: float = 0.0
) -> nn.Sequential:
    """A hidden layer with layer normalisation, and a linear layer."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.LayerNorm(hidden),
        activation,
        Dropout(dropout),
        nn.Linear(hidden, outputs),
    )


def attention(settings: LiSettings) -> nn.MultiheadAttention:
    return nn.MultiheadAttention(settings.d, settings.heads, settings.dropout, batch_first=True)
