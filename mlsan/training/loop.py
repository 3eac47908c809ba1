"""The training loop: resumable after any epoch, with the same bits every time."""

import dataclasses
import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mlsan.corpus.batch import batches, drop_modalities, pack, withhold_identities
from mlsan.corpus.enrolment import Enrolment, fit_enrolment
from mlsan.corpus.sessions import by_session
from mlsan.corpus.speakers import SpeakerCode
from mlsan.corpus.types import Batch, Corpus, Dialogue, Speakers
from mlsan.model import model_class
from mlsan.model.interface import EmotionModel, Sizes
from mlsan.model.losses import MultiEMOLoss, class_weights, emotion_loss
from mlsan.scores import confusion_counts, weighted_f1
from mlsan.training.settings import RunSettings

EVALUATED = 64  # dialogues side by side in evaluation
Row = dict[str, int | float]  # one epoch's metrics


class DivergedError(RuntimeError):
    """The loss is no longer a finite number."""


@dataclass
class TrainingState:
    """A run after some number of epochs: all that is needed to continue it, or to stop here."""

    model: EmotionModel
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.ReduceLROnPlateau
    generator: torch.Generator
    history: list[Row] = field(default_factory=list)
    best_dev: dict[str, Any] = field(default_factory=dict)
    """Metrics, predictions and weights of the epoch with the best dev score: the run's result."""
    best_test: dict[str, Any] = field(default_factory=dict)
    """The same of the epoch with the best test score, as some papers report; without weights, and
    empty without a test curve."""
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
                "best_dev": self.best_dev,
                "best_test": self.best_test,
                "seconds": self.seconds,
            },
            stream,
        )
        return stream.getvalue()

    def restore(self, content: bytes) -> None:
        """Return to the state in `content`, which `to_bytes` wrote."""
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
        self.best_dev, self.best_test = state["best_dev"], state["best_test"]


def enrolment_of(run: RunSettings, corpus: Corpus) -> Enrolment:
    """Codes and styles of speakers for this run's model. `corpus` has the run's own splits."""
    code = SpeakerCode.fit(run.speaker, corpus, run.train.min_speaker_utterances, seed=run.seed)
    return fit_enrolment(code, corpus, tuple(m for m in run.model.styled if m in corpus.sizes))


def new_model(run: RunSettings, corpus: Corpus, speakers: int) -> EmotionModel:
    """The untrained model of a run, its weights drawn from the run's seed."""
    declared = corpus.declaration
    sizes = Sizes(corpus.sizes, len(declared.roles), len(declared.emotions), speakers)
    return model_class(run.model.name).from_seed(run.model, sizes, run.seed)


def label_weights(run: RunSettings, corpus: Corpus) -> Float[Tensor, "class"]:
    """SWFC's class weights from the label counts of the training dialogues; 1 without SWFC."""
    labels = torch.cat([torch.as_tensor(d.label) for d in corpus.train])
    counts = torch.bincount(labels, minlength=len(corpus.declaration.emotions))
    if not isinstance(run.loss, MultiEMOLoss):
        return torch.ones(len(counts))
    return class_weights(counts, run.loss.alpha)


def divided(run: RunSettings, corpus: Corpus, share: float = 0.05) -> Corpus:
    """The corpus with the run's dev split: the official one, another, or a random 5 %.

    The published code takes the random 5 % of train and dev. "session" holds out all dialogues of
    one session, so that dev speakers are strangers as IEMOCAP's test speakers are.
    """
    if run.train.dev == "official":
        return corpus
    if run.train.dev == "session":
        return by_session(corpus, run.seed)
    dialogues = corpus.train + corpus.dev
    order = torch.randperm(len(dialogues), generator=torch.Generator().manual_seed(run.seed))
    held = set(order[: max(1, round(share * len(dialogues)))].tolist())
    return dataclasses.replace(
        corpus,
        train=tuple(d for i, d in enumerate(dialogues) if i not in held),
        dev=tuple(d for i, d in enumerate(dialogues) if i in held),
    )


def begin(run: RunSettings, corpus: Corpus) -> TrainingState:
    """The state before the first epoch: weights and every random state come from the seed."""
    torch.set_num_threads(run.train.threads)
    torch.manual_seed(run.seed)
    enrolment = enrolment_of(run, corpus)
    model = new_model(run, corpus, enrolment.code.size)
    model.start_from(enrolment.population)
    model = model.to(run.train.device)
    optimiser = torch.optim.Adam(
        model.parameter_groups(run.train.lr), weight_decay=run.train.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser,
        factor=run.train.plateau_factor,
        patience=run.train.plateau_patience,
        threshold=run.train.plateau_threshold,
    )
    return TrainingState(model, optimiser, scheduler, torch.Generator().manual_seed(run.seed))


def epochs(run: RunSettings, corpus: Corpus, state: TrainingState) -> Iterator[TrainingState]:
    """Train to the last epoch and yield after each, starting where `state` stands.

    Test dialogues are looked at only for a test curve: the run's score on test comes after its last
    epoch (`final_test`). Raises DivergedError on a loss that is NaN or infinite.
    """
    weight = label_weights(run, corpus).to(run.train.device)
    enrolment = enrolment_of(run, corpus)
    watched = ("dev", "test") if run.train.test_curve else ("dev",)
    evaluated = {split: evaluation_batches(run, corpus, split) for split in watched}
    for epoch in range(len(state.history) + 1, run.train.epochs + 1):
        started = time.monotonic()
        row = {"epoch": epoch, "lr": state.optimiser.param_groups[0]["lr"]}
        drawn = enrolment.training(
            np.random.default_rng([run.seed, epoch]),
            random=run.train.enrolment == "random",
            unknown_rate=run.train.unknown_rate,
        )
        row |= train_epoch(run, state, corpus.train, drawn, weight)
        predicted = {}
        for split in watched:
            predicted[split], row[f"{split}_wf1"], row[f"{split}_loss"] = evaluate(
                run, state.model, evaluated[split], weight
            )
        if not all(map(math.isfinite, row.values())):
            raise DivergedError(f"training diverged in epoch {epoch}: {row}")
        state.scheduler.step(row["dev_loss"])
        state.history.append(row)
        keep_best(state, row, predicted)
        state.seconds += time.monotonic() - started
        yield state


def train_epoch(
    run: RunSettings,
    state: TrainingState,
    dialogues: Sequence[Dialogue],
    speakers: Speakers,
    class_weight: Float[Tensor, "class"],
) -> dict[str, float]:
    """One pass over the training dialogues; the mean of the loss and of its parts over steps."""
    state.model.train()
    totals: dict[str, Tensor] = {}
    steps = 0
    for batch in batches(dialogues, speakers, run.train.batch, state.generator):
        for name, loss in train_step(run, state, batch, class_weight).items():
            totals[name] = totals.get(name, 0) + loss
        steps += 1
    return {f"train_{name}": (total / steps).item() for name, total in totals.items()}


def train_step(
    run: RunSettings,
    state: TrainingState,
    batch: Batch,
    class_weight: Float[Tensor, "class"],
) -> dict[str, Float[Tensor, ""]]:
    """One step of the optimiser on one batch; the loss and its parts before the step.

    The batch comes from the CPU; `class_weight` is on the device of the model. The targets are
    the true speakers, also where their identity is withheld from the input.
    """
    device = class_weight.device
    label, speaker = targets(batch, device)
    batch = withhold_identities(batch)
    batch = drop_modalities(batch, run.train.modality_dropout, state.generator).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=run.train.precision == "bfloat16"):
        output = state.model(batch)
    erc, parts = emotion_loss(run.loss, output, label, class_weight)
    loss, speaker_parts = state.model.total_loss(erc, output, speaker)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()
    return {
        name: value.detach() for name, value in {"loss": loss, **parts, **speaker_parts}.items()
    }


@torch.no_grad()
def evaluate(
    run: RunSettings,
    model: EmotionModel,
    evaluated: Sequence[Batch],
    class_weight: Float[Tensor, "class"],
) -> tuple[Int[Tensor, "utterance"], float, float]:
    """Predicted labels, dialogue after dialogue, weighted F1, and the mean loss over batches."""
    model.eval()
    device = class_weight.device
    losses, labels, predicted = [], [], []
    for batch in evaluated:
        label, speaker = targets(batch, device)
        output = model(batch.to(device))
        erc, _ = emotion_loss(run.loss, output, label, class_weight)
        losses.append(model.total_loss(erc, output, speaker)[0])
        labels.append(label)
        predicted.append(output.logits.argmax(-1))
    label, answer = torch.cat(labels).cpu(), torch.cat(predicted).cpu()
    counts = confusion_counts(label.numpy(), answer.numpy(), len(class_weight))
    return answer, float(weighted_f1(counts)), torch.stack(losses).mean().item()


def evaluation_batches(run: RunSettings, corpus: Corpus, split: str) -> list[Batch]:
    """Dev or test as the model gets it, the same after every epoch.

    Strangers: in dev their unlabelled utterances may help to choose the epoch, in test none.
    """
    amount = "all" if split == "dev" else 0
    dialogues = getattr(corpus, split)
    speakers = enrolment_of(run, corpus).evaluation(dialogues, amount)
    return list(batches(dialogues, speakers, EVALUATED))


def final_test(
    run: RunSettings, corpus: Corpus, state: TrainingState
) -> tuple[Int[Tensor, "utterance"], float]:
    """Predicted labels and weighted F1 of the run on test: those of the best epoch on dev."""
    state.model.load_state_dict(state.best_dev["weights"])
    weight = label_weights(run, corpus).to(run.train.device)
    return evaluate(run, state.model, evaluation_batches(run, corpus, "test"), weight)[:2]


def targets(
    batch: Batch, device: torch.device
) -> tuple[Int[Tensor, "utterance"], Int[Tensor, "utterance"]]:
    """Label and true speaker of each real utterance, on `device`.

    They are packed on the CPU: a GPU would have to be waited for, to know how many there are.
    """
    packed = (pack(batch.label, batch.mask), pack(batch.speaker, batch.mask))
    return tuple(x.to(device, non_blocking=True) for x in packed)


def keep_best(state: TrainingState, row: Row, predicted: dict[str, Tensor]) -> None:
    """Remember this epoch where its dev or its test score is the best so far.

    `predicted` are the labels of dev, and for a test curve those of test.
    """
    if row["dev_wf1"] > state.best_dev.get("dev_wf1", -1.0):
        weights = {name: w.detach().cpu().clone() for name, w in state.model.state_dict().items()}
        state.best_dev = {**row, "predicted": predicted["dev"], "weights": weights}
    if "test" in predicted and row["test_wf1"] > state.best_test.get("test_wf1", -1.0):
        state.best_test = {**row, "predicted": predicted["test"]}
