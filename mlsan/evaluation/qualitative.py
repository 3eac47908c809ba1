"""Inside trained models: gates, calibration, one dialogue, and the space of z."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from mlsan.corpus import Corpus, Dialogue
from mlsan.corpus.enrolment import Amount
from mlsan.corpus.standardised import speaker_names
from mlsan.evaluation.heterogeneity import upright
from mlsan.evaluation.stages import Stages, stages_of
from mlsan.training.loop import divided, enrolment_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Modality


@torch.no_grad()
def speaker_weights(
    run: RunSettings, corpus: Corpus, model: nn.Module, speakers: Sequence[str]
) -> pd.DataFrame:
    """What Eq. 1 and Eq. 3 of an ML-SAN learned for each speaker and modality.

    `gate` is the mean of g_m over its channels (0..1). `scale` and `shift` are root mean squares
    over features: of Eq. 2's factor minus 1, and of its summand, for a speaker enrolled with all
    training utterances. Both are 0 for a calibration that does nothing and NaN for a modality
    without one. "unknown" is entry 0, enrolled with nothing.
    """
    corpus = divided(run, corpus)
    enrolment = enrolment_of(run, corpus)
    code = enrolment.code
    rows = []
    for name in ("unknown", *speakers):
        if name not in code.names:
            continue
        index = torch.tensor([code.names.index(name)])
        for modality in model.modalities:
            row = {"speaker": name, "modality": modality, "gate": np.nan}
            row |= {"scale": np.nan, "shift": np.nan}
            if model.settings.gate:
                row["gate"] = model.gate_weights(index, modality).mean().item()
            if model.settings.film and modality in model.settings.film_modalities:
                style = None
                if modality in enrolment.population:
                    style = torch.as_tensor(enrolment.style_of(name, modality)[None])
                gamma, beta = model.film_parameters(index, modality, style)
                row["scale"] = (gamma - 1).square().mean().sqrt().item()
                row["shift"] = beta.square().mean().sqrt().item()
            rows.append(row)
    return pd.DataFrame(rows)


def case_dialogue(
    predictions: pd.DataFrame,
    other: pd.DataFrame,
    turns: range,
    among: Sequence[Dialogue],
    people: int = 2,
) -> str:
    """The test dialogue on which two systems' predictions differ most often.

    Only conversations count: dialogues `among` these in which at least `people` people speak (two,
    if nowhere so many do), of a number of turns in `turns`, or of any if there is none such. Of
    equals it is the first. Raises ValueError if nobody talks to anybody.
    """
    present = {d.id: len(set(d.party.tolist())) for d in among}
    if max(present.values()) < 2:
        raise ValueError("no dialogue has two speakers: there is no conversation to show")
    least = people if max(present.values()) >= people else 2
    talks = [name for name, count in present.items() if count >= least]
    test, rest = (
        table[(table["split"] == "test") & table["dialogue"].isin(talks)].reset_index(drop=True)
        for table in (predictions, other)
    )
    differs = test["predicted"].ne(rest["predicted"])
    by = differs.groupby(test["dialogue"], sort=False).agg(["sum", "size"])
    fitting = by[by["size"].isin(turns)]
    return str((fitting if len(fitting) else by)["sum"].idxmax())


def case_study(
    runs: dict[str, RunSettings],
    models: dict[str, nn.Module],
    corpus: Corpus,
    dialogue: Dialogue,
    amount: Amount = 0,
) -> pd.DataFrame:
    """One test dialogue, turn by turn: speaker, true and predicted emotions, modality shares.

    Strangers are enrolled with `amount` of their test utterances. `weight_m` is the share of
    modality m in the norm of the gated context features of the last system in `runs`:
    |g_m * h_m| over the sum across modalities.
    """
    ends = np.cumsum([len(d) for d in corpus.test])
    end = ends[[d.id for d in corpus.test].index(dialogue.id)]
    own = slice(end - len(dialogue), end)
    emotions = np.array(corpus.declaration.emotions)
    table = pd.DataFrame(
        {
            "turn": range(1, len(dialogue) + 1),
            "speaker": speaker_names(corpus, dialogue),
            "emotion": emotions[dialogue.label],
        }
    )
    for system, run in runs.items():
        seen = stages_of(run, corpus, models[system], corpus.test, amount)
        table[system] = emotions[seen.logits[own].argmax(1)]
    norms = {m: np.linalg.norm(h[own], axis=1) for m, h in seen.at["gated"].items()}
    total = np.sum(list(norms.values()), axis=0)
    for modality, norm in norms.items():
        table[f"weight_{modality}"] = norm / np.maximum(total, 1e-12)
    return table


def before_and_after(
    seen: Stages, dialogue: Int[np.ndarray, "utterance"], chosen: int, modality: Modality
) -> pd.DataFrame:
    """A conversation in the space of one modality's features, before and after calibration.

    `seen` are a model's stages over some dialogues, `dialogue` is the number of each utterance's
    dialogue, `chosen` that of the conversation. Each stage is shown in the plane of its first two
    principal components over the utterances of the people who speak in the conversation. One row
    per stage (raw, calibrated) and utterance of theirs: stage, speaker, label, turn (from 1; 0
    outside the conversation), x and y in standard deviations.
    """
    here = dialogue == chosen
    theirs = np.isin(seen.speaker, np.unique(seen.speaker[here]))
    turn = np.where(here, np.cumsum(here), 0)[theirs]
    tables = []
    for stage in ("raw", "calibrated"):
        plane = make_pipeline(StandardScaler(), PCA(2, whiten=True, random_state=0))
        x, y = upright(plane.fit_transform(seen.at[stage][modality][theirs])).T
        columns = {"stage": stage, "speaker": seen.speaker[theirs], "label": seen.label[theirs]}
        tables.append(pd.DataFrame({**columns, "turn": turn, "x": x, "y": y}))
    return pd.concat(tables, ignore_index=True)


def speaker_distance(places: pd.DataFrame) -> pd.Series:
    """Mean distance between two speakers' centres in each stage of `before_and_after`."""
    found = {}
    for stage, part in places.groupby("stage", sort=False):
        centres = part.groupby("speaker")[["x", "y"]].mean().to_numpy()
        found[stage] = float(np.mean(pdist(centres)))
    return pd.Series(found)


def feature_map(
    run: RunSettings,
    corpus: Corpus,
    model: nn.Module,
    named: int = 8,
    amount: Amount = 0,
) -> pd.DataFrame:
    """z of every test utterance on its two principal components: x, y, emotion, speaker.

    Nothing is drawn at random, and the axes are `upright`, so every machine gets the same map. x
    and y are in standard deviations of x. Strangers are enrolled with `amount`. Speakers other than
    the `named` most frequent ones are "others", followed by how many there are.
    """
    seen = stages_of(run, corpus, model, corpus.test, amount)
    names = seen.speaker
    frequent = [name for name, _ in Counter(names.tolist()).most_common(named)]
    rest = f"others ({len(set(names.tolist())) - len(frequent)})"
    place = upright(PCA(2, svd_solver="full").fit_transform(seen.z.astype(np.float64)))
    place = place / place[:, 0].std()
    return pd.DataFrame(place, columns=["x", "y"]).assign(
        emotion=np.array(corpus.declaration.emotions)[seen.label],
        speaker=np.where(np.isin(names, frequent), names, rest),
    )
