"""Inside trained models: gates, calibration, one dialogue, and the space of z."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from torch import nn

from mlsan.corpus import Corpus, Dialogue
from mlsan.evaluation.heterogeneity import speaker_names
from mlsan.evaluation.stages import stages_of
from mlsan.training.loop import enrolment_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import EMOTIONS


@torch.no_grad()
def speaker_weights(
    run: RunSettings, corpus: Corpus, model: nn.Module, speakers: Sequence[str]
) -> pd.DataFrame:
    """What Eq. 1 and Eq. 3 of an ML-SAN learned for each speaker and modality.

    `gate` is the mean of g_m over its channels (0..1). `scale` and `shift` are root mean squares
    over features: of Eq. 2's factor minus 1, and of its summand. Both are 0 for a calibration
    that does nothing and NaN for a modality without one. "unknown" is entry 0.
    """
    code = enrolment_of(run, corpus).code
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
                gamma, beta = model.film_parameters(index, modality)
                excess = gamma - 1
                row["scale"] = excess.square().mean().sqrt().item()
                row["shift"] = beta.square().mean().sqrt().item()
            rows.append(row)
    return pd.DataFrame(rows)


def case_dialogue(predictions: pd.DataFrame, other: pd.DataFrame, turns: range) -> str:
    """The test dialogue on which two systems' predictions differ most often.

    Only dialogues whose number of turns lies in `turns` count, or all if there is none such. Of
    equals it is the first.
    """
    test = predictions.query("split == 'test'")
    differs = test["predicted"].ne(other.query("split == 'test'")["predicted"])
    by = differs.groupby(test["dialogue"], sort=False).agg(["sum", "size"])
    fitting = by[by["size"].isin(turns)]
    return str((fitting if len(fitting) else by)["sum"].idxmax())


def case_study(
    runs: dict[str, RunSettings], models: dict[str, nn.Module], corpus: Corpus, dialogue: Dialogue
) -> pd.DataFrame:
    """One dialogue, turn by turn: speaker, true and predicted emotions, modality shares.

    `weight_m` is the share of modality m in the norm of the gated context features of the last
    system in `runs`: |g_m * h_m| over the sum across modalities.
    """
    emotions = np.array(EMOTIONS[corpus.benchmark])
    table = pd.DataFrame(
        {
            "turn": range(1, len(dialogue) + 1),
            "speaker": speaker_names(corpus, dialogue),
            "emotion": emotions[dialogue.label],
        }
    )
    for system, run in runs.items():
        seen = stages_of(run, corpus, models[system], (dialogue,))
        table[system] = emotions[seen.logits.argmax(1)]
    norms = {m: np.linalg.norm(h, axis=1) for m, h in seen.at["gated"].items()}
    total = np.sum(list(norms.values()), axis=0)
    for modality, norm in norms.items():
        table[f"weight_{modality}"] = norm / np.maximum(total, 1e-12)
    return table


def feature_map(
    run: RunSettings,
    corpus: Corpus,
    model: nn.Module,
    most: int = 1000,
    named: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """A 2-D t-SNE map of z over test utterances: x, y, emotion, speaker, one row per utterance.

    At most `most` utterances are drawn at random. Speakers other than the `named` most frequent
    ones are "others".
    """
    seen = stages_of(run, corpus, model, corpus.test)
    names = seen.speaker
    frequent = [name for name, _ in Counter(names.tolist()).most_common(named)]
    order = np.random.default_rng(seed).permutation(len(names))[:most]
    return embed(seen.z[order], seed).assign(
        emotion=np.array(EMOTIONS[corpus.benchmark])[seen.label[order]],
        speaker=np.where(np.isin(names, frequent), names, "others")[order],
    )


def embed(z: Float[np.ndarray, "utterance feature"], seed: int) -> pd.DataFrame:
    """Columns x and y of a t-SNE map of features, from their first principal components."""
    start = PCA(min(30, *z.shape), random_state=seed).fit_transform(z)
    perplexity = min(30.0, max(2.0, (len(z) - 1) / 4))
    place = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(start)
    return pd.DataFrame(place, columns=["x", "y"])
