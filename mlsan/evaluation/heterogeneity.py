"""Speaker heterogeneity as data: the same emotion from two speakers, before and after calibration.

Calibration here is Eq. 2 in closed form, with no training: gamma = 1/sigma and beta = -mu/sigma of
each speaker's own features.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mlsan.corpus import Corpus, Dialogue
from mlsan.corpus.standardised import speaker_names
from mlsan.evaluation.probes import STRENGTH, probe
from mlsan.vocabulary import Modality

COMPONENTS = 20  # principal components in which the discriminant plane is sought


def leading_speakers(corpus: Corpus, count: int) -> list[str]:
    """The speakers with the most training utterances: names, or roles where there are none."""
    names = [name for d in corpus.train for name in speaker_names(corpus, d)]
    return [name for name, _ in Counter(names).most_common(count)]


def strangers(corpus: Corpus) -> list[str]:
    """The named test speakers who never speak in training, in order of appearance."""
    trained = {name for d in corpus.train for name in d.speaker or ()}
    tested = dict.fromkeys(name for d in corpus.test for name in d.speaker or () if name)
    return [name for name in tested if name not in trained]


def emotion_plane(
    spaces: dict[str, Float[np.ndarray, "utterance _"]],
    corpus: Corpus,
    speakers: Sequence[str],
    emotions: int = 3,
) -> pd.DataFrame:
    """Two speakers' training utterances in the plane of each space that best separates emotions.

    `spaces` maps a panel's name to features of all training utterances, in order. The plane is
    spanned by the first two discriminants of emotion over all speakers; two emotions have only one,
    and the first principal component is the other axis. Returns one row per
    utterance of the `speakers` with their most frequent shared emotions: space, speaker, emotion,
    x, y. The axes of all spaces point the way of the first.
    """
    label = np.concatenate([d.label for d in corpus.train])
    speaker = np.array([name for d in corpus.train for name in speaker_names(corpus, d)])
    counts = [np.bincount(label[speaker == s], minlength=label.max() + 1) for s in speakers]
    shared = np.argsort(-np.min(counts, axis=0), kind="stable")[:emotions]
    shown = np.isin(speaker, list(speakers)) & np.isin(label, shared)
    names = np.array(corpus.declaration.emotions)
    panels, first = [], None
    for space, features in spaces.items():
        plane = make_pipeline(
            StandardScaler(),
            PCA(min(COMPONENTS, *features.shape), random_state=0),
            LinearDiscriminantAnalysis(),
        )
        found = plane.fit(features, label).transform(features)
        if found.shape[1] == 1:
            found = np.column_stack([found, plane[:-1].transform(features)[:, 0]])
        x, y = upright(found[shown, :2], first).T
        first = np.column_stack([x, y]) if first is None else first
        panels.append(
            pd.DataFrame(
                {
                    "space": space,
                    "speaker": speaker[shown],
                    "emotion": names[label[shown]],
                    "x": x,
                    "y": y,
                }
            )
        )
    return pd.concat(panels, ignore_index=True)


def upright(
    points: Float[np.ndarray, "point axis"], like: Float[np.ndarray, "point axis"] | None = None
) -> Float[np.ndarray, "point axis"]:
    """The points with each axis turned to agree with the same points in `like`.

    Without `like`, the point that is farthest along an axis is on its positive side. Axes found by
    a decomposition have no sign of their own, so two machines may find both.
    """
    if like is None:
        sign = np.take_along_axis(points, np.abs(points).argmax(axis=0)[None], axis=0)[0]
    else:
        sign = np.sum(points * like, axis=0)
    return points * np.where(sign < 0, -1, 1)


def speaker_gap(plane: pd.DataFrame) -> pd.Series:
    """Distance between two speakers' means of the same emotion in each space, mean over emotions.

    The units are the plane's, whose axes have unit variance within an emotion.
    """
    means = plane.groupby(["space", "emotion", "speaker"], sort=False)[["x", "y"]].mean()
    apart = means.groupby(["space", "emotion"], sort=False).agg(np.ptp)
    return np.hypot(apart["x"], apart["y"]).groupby("space", sort=False).mean()


def training_features(corpus: Corpus, modality: Modality) -> Float[np.ndarray, "utterance feature"]:
    """One modality of all training utterances, in order."""
    return np.concatenate([d.feature[modality] for d in corpus.train])


LEADING = 9  # speakers of `variance_shares` and `speaker_probe`: as many as nEMO has


def variance_shares(corpus: Corpus, modality: Modality) -> tuple[float, float]:
    """Percent of its variance that the median feature owes to the speaker, and to the emotion.

    This is eta squared over the training utterances of the nine leading speakers.
    """
    features, speaker, label = _utterances(corpus, corpus.train, (modality,), None)
    kept = np.isin(speaker, leading_speakers(corpus, LEADING))
    features, speaker, label = features[kept], speaker[kept], label[kept]
    features = features - features.mean(axis=0)
    total = np.square(features).sum(axis=0)
    shares = []
    for group in (speaker, label):
        table = pd.DataFrame(features).groupby(group)
        between = (table.mean() ** 2).mul(table.size(), axis=0).sum(axis=0)
        shares.append(100 * float(np.nanmedian(between / total)))
    return shares[0], shares[1]


def repetition(corpus: Corpus) -> dict[str, float]:
    """How often a speaker's next emotion in a training dialogue is the same, and by chance."""
    pairs = []
    for dialogue in corpus.train:
        last: dict[int, int] = {}
        for party, label in zip(dialogue.party, dialogue.label, strict=True):
            if party in last:
                pairs.append((last[party], label))
            last[party] = label
    before, after = np.array(pairs).T
    share = np.bincount(after) / len(after)
    return {
        "same emotion again": float(np.mean(before == after)),
        "by chance": float(np.sum(share**2)),
    }


Change = Callable[[np.ndarray, np.ndarray], np.ndarray]


def speaker_probe(
    corpus: Corpus,
    modalities: Sequence[Modality],
    change: Change | None = None,
    speakers: int = LEADING,
) -> float:
    """Weighted F1 in percent of a linear probe that names the `speakers` who speak most.

    It is fitted on their training utterances and scored on their dev utterances. `change` maps the
    features and speakers of both together to new features, such as `standardise_by_speaker`.
    """
    dialogues = corpus.train + corpus.dev
    x, speaker, _ = _utterances(corpus, dialogues, modalities, change)
    fitted = np.arange(len(x)) < sum(map(len, corpus.train))
    kept = np.isin(speaker, leading_speakers(corpus, speakers))
    parts = [rows for part in (kept & fitted, kept & ~fitted) for rows in (x[part], speaker[part])]
    return probe(*parts, STRENGTH)


def _utterances(
    corpus: Corpus,
    dialogues: Sequence[Dialogue],
    modalities: Sequence[Modality],
    change: Change | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, speakers and labels of all utterances of some dialogues."""
    x = np.concatenate([np.concatenate([d.feature[m] for m in modalities], 1) for d in dialogues])
    speaker = np.array([name for d in dialogues for name in speaker_names(corpus, d)])
    label = np.concatenate([d.label for d in dialogues])
    return (x if change is None else change(x, speaker)), speaker, label
