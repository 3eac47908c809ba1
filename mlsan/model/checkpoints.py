"""Weights under the names of the published MultiEMO code: reads its checkpoints, names our own."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from mlsan.model.fast.fusion import partners
from mlsan.model.multiemo import MultiEMO

State = Mapping[str, Tensor]
CELLS = ("g", "p", "e")
KINDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class PublishedStateError(ValueError):
    """A state dict is not one that the published implementation makes for this model."""


def read_published(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a file without running any code in it.

    Raises PublishedStateError if the file is not a state dict of tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # A foreign file may break the reader in many ways.
        raise PublishedStateError(
            f"{path}: not a file of weights alone; save it with "
            "torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise PublishedStateError(f"{path}: expected a state dict (names to tensors)")
    return state


def load_published(model: MultiEMO, state: State) -> None:
    """Load a published state dict into `model`, which must have all three modalities.

    The published MELD form holds parameters that it never uses: `text_dialoguernn` and, in each
    other DialogueRNN, the backward copy and the linear layer that would join both directions.
    These are ignored. The IEMOCAP form has the same names and uses all of them; its classifier is
    as wide as the model, that of the MELD form twice as wide. Parts that MultiEMO lacks (FiLM,
    gate, speaker head) keep their values. Raises PublishedStateError if anything is missing,
    unknown or of another shape, or if the model has no place for trained weights; the model is then
    unchanged.
    """
    if len(model.modalities) < 3:
        raise PublishedStateError(
            f"the published model has three modalities, not {model.modalities}"
        )
    rules = _rules(model)
    used = {name for rule in rules.values() for name in _names(rule)}
    missing = sorted(used - set(state))
    if missing:
        raise PublishedStateError(f"missing from the state dict: {', '.join(missing)}")
    unused = set().union(*(_context_names(m) for m in model.modalities))
    unknown = sorted(set(state) - used - unused)
    if unknown:
        raise PublishedStateError(f"unexpected in the state dict: {', '.join(unknown)}")
    dropped = sorted(set(state) - used)
    if dropped and not _leaves_context_unused(state):
        raise PublishedStateError(
            "the model has no place for these trained weights: set bidirectional=True and "
            f"text_context=True for a state dict of the IEMOCAP form: {', '.join(dropped)}"
        )

    target = dict(model.named_parameters())
    values = {name: _assemble(rule, state) for name, rule in rules.items()}
    for name, value in values.items():
        if value.shape != target[name].shape:
            raise PublishedStateError(
                f"{name}: the state dict gives {tuple(value.shape)}, "
                f"the model has {tuple(target[name].shape)}; check d, heads, layers and sizes"
            )
    with torch.no_grad():
        for name, value in values.items():
            target[name].copy_(value)


def _leaves_context_unused(state: State) -> bool:
    """Whether a state dict has the MELD form, by its classifier."""
    shape = state["mlp.linear_1.weight"].shape
    return len(shape) == 2 and shape[0] == 2 * shape[1]


def published_state(model: MultiEMO) -> dict[str, Tensor]:
    """The model's weights under the published names, as `mlsan.model.reference` takes them.

    What MultiEMO lacks (FiLM, gate, speaker head) keeps its own names. The tensors are
    views of the parameters: gradients flow back to the model.
    """
    rules = _rules(model)
    parameters = {
        name: tensor
        for ours, parameter in model.named_parameters()
        for name, tensor in _take_apart(rules.get(ours, ours), parameter)
    }
    return parameters | dict(model.named_buffers())


# How one of our parameters consists of published ones: a name stands for the tensor itself, a list
# of names for those tensors one after the other, a list of such lists for a stack, one per stream.
Rule = str | list[str] | list[list[str]]


def _names(rule: Rule) -> list[str]:
    return [rule] if isinstance(rule, str) else [name for part in rule for name in _names(part)]


def _assemble(rule: Rule, state: State) -> Tensor:
    if isinstance(rule, str):
        return state[rule]
    parts = [_assemble(part, state) for part in rule]
    if len({part.shape for part in parts}) > 1:
        raise PublishedStateError(f"{', '.join(_names(rule))}: shapes differ")
    return torch.cat(parts) if isinstance(rule[0], str) else torch.stack(parts)


def _take_apart(rule: Rule, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The published names and tensors of which `tensor` consists."""
    if isinstance(rule, str):
        yield rule, tensor
        return
    parts = tensor.chunk(len(rule)) if isinstance(rule[0], str) else tensor.unbind()
    for part, piece in zip(rule, parts, strict=True):
        yield from _take_apart(part, piece)


def _context_names(modality: str) -> set[str]:
    """All names of one modality's DialogueRNN, whether its form uses them or not."""
    cell = [f"{c}_cell.{kind}" for c in CELLS for kind in KINDS]
    cell.append("attention.scalar.weight")
    both = {f"dialog_rnn_{way}.dialogue_cell.{name}" for way in "fr" for name in cell}
    return {f"{modality}_dialoguernn.{name}" for name in both | {"linear.weight", "linear.bias"}}


def _rules(model: MultiEMO) -> dict[str, Rule]:
    """For each of our backbone's parameters, the published ones of which it consists."""
    rules: dict[str, Rule] = {}
    modalities, heads = model.modalities, range(model.settings.heads)

    def linear(ours: str, *streams: str | list[str]) -> None:
        """A stacked layer, from one published layer (or several in a row) per stream."""
        for kind in ("weight", "bias"):
            rules[f"{ours}.{kind}"] = [
                [f"{layer}.{kind}" for layer in ([stream] if isinstance(stream, str) else stream)]
                for stream in streams
            ]

    def by_head(stem: str, role: str) -> list[str]:
        return [f"{stem}.attention_heads.{h}.{role}_matrix" for h in heads]

    plain = {f"project.{m}": f"{m}_fc" for m in modalities}
    plain |= {"join": "fc", "classify.0": "mlp.linear_1", "classify.2": "mlp.linear_2"}
    for ours, theirs in plain.items():
        rules |= {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}

    if model.spoken:
        directions = "fr" if model.settings.bidirectional else "f"
        cells = [
            f"{m}_dialoguernn.dialog_rnn_{way}.dialogue_cell"
            for way in directions
            for m in model.spoken
        ]
        for cell in CELLS:
            for kind in KINDS:
                rules[f"context.{cell}.{kind}"] = [[f"{c}.{cell}_cell.{kind}"] for c in cells]
        rules["context.attend"] = [f"{c}.attention.scalar.weight" for c in cells]
        if model.settings.bidirectional:
            linear("context.join", *(f"{m}_dialoguernn.linear" for m in model.spoken))

    for n in range(model.settings.layers):
        layer = f"fusion.layers.{n}"
        theirs = [f"multiattn.multiattn_{m}.multiattn_layers.{n}" for m in modalities]
        for k in range(len(partners(len(modalities)))):
            attention, stems = f"{layer}.attention.{k}", [f"{t}.attn_{k + 1}" for t in theirs]

            linear(f"{attention}.query", *(by_head(s, "query") for s in stems))
            linear(
                f"{attention}.key_value",
                *(by_head(s, "key") + by_head(s, "value") for s in stems),
            )
            linear(f"{attention}.output", *(f"{s}.projection_matrix" for s in stems))
            linear(f"{layer}.norm.{k}", *(f"{t}.add_norm_{k + 1}.layer_norm" for t in theirs))
        linear(f"{layer}.expand", *(f"{t}.ff.linear_W1" for t in theirs))
        linear(f"{layer}.contract", *(f"{t}.ff.linear_W2" for t in theirs))
        linear(f"{layer}.last_norm", *(f"{t}.add_norm_3.layer_norm" for t in theirs))
    return rules
