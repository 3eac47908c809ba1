"""The training loop: plain, resumable after any epoch, and the same bits every time."""

import dataclasses
import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mlsan.corpus.batch import batches, drop_identities, drop_modalities, pack
from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.types import Batch, Corpus, Dialogue
from mlsan.model import build_model
from mlsan.model.interface import EmotionModel, Sizes
from mlsan.model.losses import MultiEMOLoss, class_weights, emotion_loss
from mlsan.scores import confusion_counts, weighted_f1
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import EMOTIONS, PARTIES

SPLITS = ("dev", "test")
Row = dict[str, int | float]  # one epoch's metrics


class DivergedError(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass
class Fit:
    """A run after some number of epochs: all that is needed to go on, or to stop here."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.ReduceLROnPlateau
    generator: torch.Generator
    history: list[Row] = field(default_factory=list)
    selected: dict[str, Any] = field(default_factory=dict)  # at the best dev epoch
    flattering: dict[str, Any] = field(default_factory=dict)  # at the best test epoch
    seconds: float = 0.0

    def to_bytes(self) -> bytes:
        """Every tensor and random state, readable with `weights_only=True`."""
        stream = io.BytesIO()
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "rng": {"run": self.generator.get_state(), "cpu": torch.get_rng_state()},
                "cuda": cuda,
                "history": self.history,
                "selected": self.selected,
                "flattering": self.flattering,
                "seconds": self.seconds,
            },
            stream,
        )
        return stream.getvalue()

    def restore(self, content: bytes) -> None:
        """Go back to the state in `content`, which `to_bytes` wrote."""
        device = next(self.model.parameters()).device
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.generator.set_state(state["rng"]["run"])
        torch.set_rng_state(state["rng"]["cpu"])
        if device.type == "cuda":
            torch.cuda.set_rng_state_all(state["cuda"])
        self.history, self.seconds = state["history"], state["seconds"]
        self.selected, self.flattering = state["selected"], state["flattering"]


def speaker_code(run: RunSettings, corpus: Corpus) -> SpeakerCode:
    """What this run's model is told of a speaker."""
    return SpeakerCode.fit(run.speaker, corpus, run.train.min_speaker_utterances, seed=run.seed)


def new_model(run: RunSettings, corpus: Corpus, speakers: int) -> EmotionModel:
    """The untrained model of a run, its weights drawn from the run's seed."""
    sizes = Sizes(corpus.sizes, PARTIES[run.benchmark], len(EMOTIONS[run.benchmark]), speakers)
    return build_model(run.model, sizes, run.seed)


def label_weights(run: RunSettings, corpus: Corpus) -> Tensor:
    """SWFC's class weights from the training dialogues' label counts; all 1 without SWFC."""
    labels = torch.cat([torch.as_tensor(d.label) for d in corpus.train])
    counts = torch.bincount(labels, minlength=len(EMOTIONS[run.benchmark]))
    if not isinstance(run.loss, MultiEMOLoss):
        return torch.ones(len(counts))
    return class_weights(counts, run.loss.alpha)


def divided(run: RunSettings, corpus: Corpus, share: float = 0.05) -> Corpus:
    """The corpus with the run's dev split: its own, or as published a random 5 % of the rest."""
    if run.train.dev == "official":
        return corpus
    dialogues = corpus.train + corpus.dev
    order = torch.randperm(len(dialogues), generator=torch.Generator().manual_seed(run.seed))
    held = set(order[: max(1, round(share * len(dialogues)))].tolist())
    return dataclasses.replace(
        corpus,
        train=tuple(d for i, d in enumerate(dialogues) if i not in held),
        dev=tuple(d for i, d in enumerate(dialogues) if i in held),
    )


def begin(run: RunSettings, corpus: Corpus) -> Fit:
    """The state before the first epoch: weights and every random state come from the seed."""
    torch.set_num_threads(run.train.threads)
    torch.manual_seed(run.seed)
    model = new_model(run, corpus, speaker_code(run, corpus).size).to(run.train.device)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=run.train.lr, weight_decay=run.train.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        factor=run.train.plateau_factor,
        patience=run.train.plateau_patience,
        threshold=run.train.plateau_threshold,
    )
    return Fit(model, optimiser, scheduler, torch.Generator().manual_seed(run.seed))


def epochs(run: RunSettings, corpus: Corpus, state: Fit) -> Iterator[Fit]:
    """Train to the last epoch, yielding after each; goes on from wherever `state` stands.

    Raises DivergedError on a loss that is NaN or infinite.
    """
    weight = label_weights(run, corpus).to(run.train.device)
    code = speaker_code(run, corpus)
    codes = {split: code.encode(getattr(corpus, split)) for split in ("train", *SPLITS)}
    for epoch in range(len(state.history) + 1, run.train.epochs + 1):
        started = time.monotonic()
        row = {"epoch": epoch, "lr": state.optimiser.param_groups[0]["lr"]}
        row |= train_epoch(run, state, corpus.train, codes["train"], code.size, weight)
        predicted = {}
        for split in SPLITS:
            loss, label, predicted[split] = evaluate(
                run, state.model, getattr(corpus, split), codes[split], weight
            )
            counts = confusion_counts(
                label.numpy(), predicted[split].numpy(), len(EMOTIONS[run.benchmark])
            )
            row |= {f"{split}_loss": loss, f"{split}_wf1": float(weighted_f1(counts))}
        if not all(map(math.isfinite, row.values())):
            raise DivergedError(f"training diverged in epoch {epoch}: {row}")
        state.scheduler.step(row["dev_loss"])
        state.history.append(row)
        keep_best(state, row, predicted)
        state.seconds += time.monotonic() - started
        yield state


def train_epoch(
    run: RunSettings,
    state: Fit,
    dialogues: tuple[Dialogue, ...],
    codes: list,
    speakers: int,
    weight: Tensor,
) -> dict[str, float]:
    """One pass over the training dialogues; the mean of the loss and of its parts."""
    device = weight.device
    state.model.train()
    totals: dict[str, Tensor] = {}
    steps = 0
    for batch in batches(dialogues, codes, run.train.batch, state.generator):
        label, speaker = targets(batch, device)
        told = drop_identities(batch, run.train.unknown_rate, state.generator, speakers)
        told = drop_modalities(told, run.train.modality_dropout, state.generator).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=run.train.precision == "bfloat16"):
            output = state.model(told)
        erc, parts = emotion_loss(run.loss, output, label, weight)
        loss, speaker_parts = state.model.total_loss(erc, output, speaker)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        state.optimiser.step()
        for name, part in {"loss": loss, **parts, **speaker_parts}.items():
            totals[name] = totals.get(name, 0) + part.detach()
        steps += 1
    return {f"train_{name}": (total / steps).item() for name, total in totals.items()}


@torch.no_grad()
def evaluate(
    run: RunSettings, model: nn.Module, dialogues: tuple[Dialogue, ...], codes: list, weight: Tensor
) -> tuple[float, Int[Tensor, "utterance"], Int[Tensor, "utterance"]]:
    """Mean loss a batch, labels and predicted labels, dialogue by dialogue."""
    model.eval()
    losses, labels, predicted = [], [], []
    for batch in batches(dialogues, codes, run.train.batch, None):
        label, speaker = targets(batch, weight.device)
        output = model(batch.to(weight.device))
        erc, _ = emotion_loss(run.loss, output, label, weight)
        loss, _ = model.total_loss(erc, output, speaker)
        losses.append(loss)
        labels.append(label)
        predicted.append(output.logits.argmax(-1))
    return torch.stack(losses).mean().item(), torch.cat(labels).cpu(), torch.cat(predicted).cpu()


def targets(
    batch: Batch, device: torch.device
) -> tuple[Int[Tensor, "utterance"], Int[Tensor, "utterance"]]:
    """Label and true speaker of each real utterance, packed before they leave the CPU.

    On a GPU packing would have to wait for the device to say how many there are.
    """
    packed = (pack(batch.label, batch.mask), pack(batch.speaker, batch.mask))
    return tuple(x.to(device, non_blocking=True) for x in packed)


def keep_best(state: Fit, row: Row, predicted: dict[str, Tensor]) -> None:
    """Remember the best dev epoch (the result) and the best test epoch (the published habit)."""
    if row["dev_wf1"] > state.selected.get("dev_wf1", -1.0):
        weights = {name: w.detach().cpu().clone() for name, w in state.model.state_dict().items()}
        state.selected = {**row, "predicted": predicted, "weights": weights}
    if row["test_wf1"] > state.flattering.get("test_wf1", -1.0):
        state.flattering = {**row, "predicted": {"test": predicted["test"]}}
