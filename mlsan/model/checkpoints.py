"""Reads checkpoints of the published MultiEMO implementation into ours."""

from collections.abc import Mapping
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
    """A state dict from a file, without running any code in it.

    Raises `PublishedStateError` if the file is no state dict of tensors.
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
    """Give `model` (all three modalities) the weights of a published state dict.

    The published MELD form holds parameters that it never uses: `text_dialoguernn`, and of each
    other DialogueRNN the backward copy and the linear layer that would join the two. These are
    passed over; the published IEMOCAP form has none. Parts that MultiEMO lacks (FiLM, gate,
    speaker head) keep their values. Raises `PublishedStateError` for anything missing, of another
    shape, or unknown, by its published name; the model is then left as it was.
    """
    if len(model.modalities) < 3:
        raise PublishedStateError(
            f"the published model has three modalities, not {model.modalities}"
        )
    ours = translate(model, state)
    target = dict(model.named_parameters())
    for name, value in ours.items():
        if value.shape != target[name].shape:
            raise PublishedStateError(
                f"{name}: the state dict gives {tuple(value.shape)}, "
                f"the model has {tuple(target[name].shape)}; check d, heads, layers and sizes"
            )
    with torch.no_grad():
        for name, value in ours.items():
            target[name].copy_(value)


def _context_names(modality: str) -> set[str]:
    """All names of one modality's DialogueRNN, whether its form uses them or not."""
    cell = [f"{c}_cell.{kind}" for c in CELLS for kind in KINDS]
    cell.append("attention.scalar.weight")
    ways = {f"dialog_rnn_{way}.dialogue_cell.{name}" for way in "fr" for name in cell}
    return {f"{modality}_dialoguernn.{name}" for name in ways | {"linear.weight", "linear.bias"}}


def translate(model: MultiEMO, state: State) -> dict[str, Tensor]:
    """Published tensors under the names, and in the stacking, of our parameters.

    Raises `PublishedStateError` for a name that is missing or unknown.
    """
    used: set[str] = set()

    def get(name: str) -> Tensor:
        if name not in state:
            raise PublishedStateError(f"missing from the state dict: {name}")
        used.add(name)
        return state[name]

    def stack(names: list[str]) -> Tensor:
        values = [get(name) for name in names]
        if len({v.shape for v in values}) > 1:
            raise PublishedStateError(f"{', '.join(names)}: shapes differ")
        return torch.stack(values)

    ours: dict[str, Tensor] = {}

    def put(name: str, published: list[str]) -> None:
        """A stacked layer from one published layer a stream."""
        for kind in ("weight", "bias"):
            ours[f"{name}.{kind}"] = stack([f"{p}.{kind}" for p in published])

    def put_plain(name: str, published: str) -> None:
        for kind in ("weight", "bias"):
            ours[f"{name}.{kind}"] = get(f"{published}.{kind}")

    for m in model.modalities:
        put_plain(f"project.{m}", f"{m}_fc")
    put_plain("join", "fc")
    put_plain("classify.0", "mlp.linear_1")
    put_plain("classify.2", "mlp.linear_2")

    directions = ("f", "r") if model.settings.bidirectional else ("f",)
    cells = [
        f"{m}_dialoguernn.dialog_rnn_{way}.dialogue_cell"
        for way in directions
        for m in model.spoken
    ]
    for cell in CELLS:
        for kind in KINDS:
            ours[f"context.{cell}.{kind}"] = stack([f"{c}.{cell}_cell.{kind}" for c in cells])
    ours["context.attend"] = stack([f"{c}.attention.scalar.weight" for c in cells]).flatten(1)
    if model.settings.bidirectional:
        put("context.join", [f"{m}_dialoguernn.linear" for m in model.spoken])

    def heads(stem: str, role: str, kind: str) -> Tensor:
        names = [
            f"{stem}.attention_heads.{h}.{role}_matrix.{kind}" for h in range(model.settings.heads)
        ]
        return torch.cat([get(name) for name in names])

    for n in range(model.settings.layers):
        theirs = [f"multiattn.multiattn_{m}.multiattn_layers.{n}" for m in model.modalities]
        layer = f"fusion.layers.{n}"
        for k in range(len(partners(len(model.modalities)))):
            attention = f"{layer}.attention.{k}"
            stems = [f"{t}.attn_{k + 1}" for t in theirs]
            for kind in ("weight", "bias"):
                ours[f"{attention}.query.{kind}"] = torch.stack(
                    [heads(s, "query", kind) for s in stems]
                )
                ours[f"{attention}.key_value.{kind}"] = torch.stack(
                    [torch.cat([heads(s, r, kind) for r in ("key", "value")]) for s in stems]
                )
            put(f"{attention}.output", [f"{s}.projection_matrix" for s in stems])
            put(f"{layer}.norm.{k}", [f"{t}.add_norm_{k + 1}.layer_norm" for t in theirs])
        put(f"{layer}.expand", [f"{t}.ff.linear_W1" for t in theirs])
        put(f"{layer}.contract", [f"{t}.ff.linear_W2" for t in theirs])
        put(f"{layer}.last_norm", [f"{t}.add_norm_3.layer_norm" for t in theirs])
    unused = set().union(*(_context_names(m) for m in model.modalities))
    unknown = set(state) - used - unused
    if unknown:
        raise PublishedStateError(f"unexpected in the state dict: {', '.join(sorted(unknown))}")
    return ours
