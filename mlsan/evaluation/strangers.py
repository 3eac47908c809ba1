"""A trained ML-SAN meets somebody new: enrol them from unlabelled features, then predict."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import nn

from mlsan.corpus import Corpus, Dialogue, collate
from mlsan.corpus.types import Speakers
from mlsan.files import read_sealed, write_sealed
from mlsan.training.loop import divided, enrolment_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import UNKNOWN, Modality


@dataclass(frozen=True)
class Style:
    """mu and sigma of one person's features, by modality. It identifies the person: keep it safe.

    A style is all that enrolment keeps; the utterances themselves are not needed any more.
    """

    mu_sigma: dict[Modality, Float[np.ndarray, "2 _"]]

    def save(self, path: Path) -> None:
        """Write the style to a file, whole or not at all."""
        content = io.BytesIO()
        np.savez(content, **self.mu_sigma)
        write_sealed(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> "Style":
        """Read what `save` wrote. Raises TornFileError for any other file."""
        with np.load(io.BytesIO(read_sealed(path)), allow_pickle=False) as arrays:
            return cls(dict(arrays))


def enrol(
    run: RunSettings, corpus: Corpus, model: nn.Module, features: dict[Modality, np.ndarray]
) -> Style:
    """The style of a new speaker, from the features of any number of unlabelled utterances.

    `features` has the modalities that the model calibrates, and text if the corpus has it: with
    its help, what emotions add does not count as style. Each has axes utterance and feature;
    without any utterance the style is the population's. `corpus` is the one that the run trained
    on. Raises ValueError if the model has no FiLM that starts from statistics, or if a modality
    is missing, has another number of features or utterances, or holds a number that is not finite.
    """
    films = getattr(model, "film", None) or {}
    if not films or any(film.start != "statistics" for film in films.values()):
        raise ValueError("this model has no FiLM that starts from statistics: nobody can enrol")
    enrolment = enrolment_of(run, divided(run, corpus))
    wanted = ("text", *films) if enrolment.expression else tuple(films)
    x = {modality: _checked(modality, features, corpus.sizes[modality]) for modality in wanted}
    if len({len(rows) for rows in x.values()}) > 1:
        counts = ", ".join(f"{modality} {len(rows)}" for modality, rows in x.items())
        raise ValueError(f"features differ in their number of utterances: {counts}")
    own = {modality: x[modality] for modality in films}
    if enrolment.expression:
        own = enrolment.expression.without(x["text"], own)
    styles = {m: enrolment.population[m].style(rows) for m, rows in own.items()}
    return Style({m: np.stack(style).astype(np.float32) for m, style in styles.items()})


def _checked(
    modality: Modality, features: dict[Modality, np.ndarray], size: int
) -> Float[np.ndarray, "utterance feature"]:
    if modality not in features:
        raise ValueError(f"features of {modality} are missing: enrolment reads them")
    x = np.asarray(features[modality])
    if x.ndim != 2 or x.shape[1] != size:
        raise ValueError(
            f"features of {modality} have shape {x.shape}: give one row per utterance with "
            f"{size} features each"
        )
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise ValueError(f"features of {modality}: row {row} is not finite; leave it out")
    return x


@torch.no_grad()
def predict(
    run: RunSettings,
    corpus: Corpus,
    model: nn.Module,
    dialogue: Dialogue,
    styles: dict[str, Style],
) -> Int[np.ndarray, "turn"]:
    """The predicted emotion of each utterance of a dialogue.

    `styles` gives the style of speakers by name. Who has none is known from training, or else
    treated as a stranger of whom nothing is known. `corpus` is the one that the run trained on.
    """
    enrolment = enrolment_of(run, divided(run, corpus))
    speakers = enrolment.evaluation([dialogue])
    code, own = speakers.code[0].copy(), {m: x.copy() for m, x in speakers.style[0].items()}
    for turn, name in enumerate(dialogue.speaker or ()):
        if name in styles:
            code[turn] = UNKNOWN
            for modality, mu_sigma in styles[name].mu_sigma.items():
                own[modality][turn] = mu_sigma
    batch = collate([dialogue], Speakers([code], [own]))
    return model.eval()(batch).logits.argmax(-1).numpy()
