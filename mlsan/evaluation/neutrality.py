"""Are calibrated features neutral, and does the output keep identity, as the paper claims?

Two measurements: what linear probes read from every stage and, where the speakers' true style is
known, how much of it the calibration removes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from torch import nn

from mlsan.corpus import Corpus, Dialogue
from mlsan.corpus.enrolment import Amount
from mlsan.corpus.standardised import standardise_by_speaker
from mlsan.evaluation.probes import STRENGTH, every_other, probe
from mlsan.evaluation.stages import Stages, stages_of
from mlsan.training.loop import enrolment_of
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Modality

STAGES = ("raw", "calibrated", "context", "gated", "z")
CALIBRATIONS = ("none", "by speaker", "learned", "best")


def stage_probes(
    train: Stages,
    dev: Stages,
    test: Stages,
    generator: np.random.Generator,
    *,
    modalities: Sequence[Modality] = (),
    speakers: int = 8,
    most: int = 2000,
) -> pd.DataFrame:
    """Linear probes for speaker and for emotion at every stage of one trained model.

    Both are fitted on at most `most` training utterances drawn by `generator`. The speaker probe
    distinguishes the `speakers` with most training utterances and is scored on their dev
    utterances: dialogues that the model was not trained on, while test may have none of these
    speakers. The emotion probe is scored on test. A stage's streams of `modalities` (all, if none
    is given) are concatenated; z is always the joint one.

    Returns one row per target and stage: target, stage, modalities, wf1 (percent), chance
    (percent, by `chance_level`), classes, fitted and scored (utterances). `wf1` is NaN where dev
    has none of the speakers. Raises ValueError for a modality that the stages lack.
    """
    chosen = tuple(modalities) or tuple(train.at["raw"])
    absent = [m for m in chosen if m not in train.at["raw"]]
    if absent:
        raise ValueError(f"the stages have no {absent[0]}; use {', '.join(train.at['raw'])}")
    leading = [name for name, _ in Counter(filter(None, train.speaker)).most_common(speakers)]
    plans = (
        ("speaker", train.speaker, dev, dev.speaker, leading),
        ("emotion", train.label, test, test.label, np.unique(train.label)),
    )
    rows = []
    for target, fit_target, scored, score_target, classes in plans:
        fit_rows = generator.permutation(np.flatnonzero(np.isin(fit_target, classes)))[:most]
        score_rows = np.flatnonzero(np.isin(score_target, classes))
        fit_label, score_label = fit_target[fit_rows], score_target[score_rows]
        for stage in STAGES:
            found = (
                probe(
                    side_by_side(train, stage, chosen)[fit_rows],
                    fit_label,
                    side_by_side(scored, stage, chosen)[score_rows],
                    score_label,
                    STRENGTH,
                )
                if len(score_label)
                else np.nan
            )
            rows.append(
                {
                    "target": target,
                    "stage": stage,
                    "modalities": "+".join(chosen),
                    "wf1": found,
                    "chance": chance_level(fit_label, score_label),
                    "classes": len(np.unique(fit_label)),
                    "fitted": len(fit_label),
                    "scored": len(score_label),
                }
            )
    return pd.DataFrame(rows)


def withheld_stages(
    run: RunSettings,
    corpus: Corpus,
    model: nn.Module,
    dialogues: tuple[Dialogue, ...],
    amount: Amount = 0,
) -> Stages:
    """`stages_of` a model for which every speaker is the unknown one.

    A gate writes the identity that it is given into its output, trained or not. What a probe
    reads here has come through the features instead, calibrated by the speakers' styles where the
    model reads them. `speaker` still names the speakers. Raises ValueError for a model that uses
    roles: there is no identity to withhold.
    """
    if enrolment_of(run, corpus).code.by_role:
        raise ValueError("this model uses roles: there is no identity to withhold")
    return stages_of(run, corpus, model, dialogues, amount, withheld=True)


def stranger_probes(
    test: Stages,
    dialogue: Int[np.ndarray, "utterance"],
    strangers: Sequence[str],
    *,
    modalities: Sequence[Modality] = (),
) -> pd.DataFrame:
    """A linear probe that names the `strangers`, at every stage of one trained model.

    `dialogue` numbers the dialogue of each utterance of `test`. The probe is fitted on every
    other dialogue of each stranger and scored on the rest; it distinguishes those who speak in
    both halves. Returns rows like those of `stage_probes` with the target "stranger"; `wf1` is NaN
    for fewer than two.
    """
    chosen = tuple(modalities) or tuple(test.at["raw"])
    kept = np.isin(test.speaker, list(strangers))
    first = every_other(test.speaker, dialogue)
    both = set(test.speaker[kept & first]) & set(test.speaker[kept & ~first])
    kept = np.isin(test.speaker, sorted(both))
    fit, score = np.flatnonzero(kept & first), np.flatnonzero(kept & ~first)
    fit_name, score_name = test.speaker[fit], test.speaker[score]
    there = len(both) > 1
    rows = []
    for stage in STAGES:
        x = side_by_side(test, stage, chosen)
        rows.append(
            {
                "target": "stranger",
                "stage": stage,
                "modalities": "+".join(chosen),
                "wf1": probe(x[fit], fit_name, x[score], score_name, STRENGTH) if there else np.nan,
                "chance": chance_level(fit_name, score_name) if there else np.nan,
                "classes": len(both),
                "fitted": len(fit),
                "scored": len(score),
            }
        )
    return pd.DataFrame(rows)


def side_by_side(
    seen: Stages, stage: str, modalities: Sequence[Modality]
) -> Float[np.ndarray, "utterance features"]:
    """A stage's streams concatenated, or z."""
    if stage == "z":
        return seen.z
    return np.concatenate([seen.at[stage][m] for m in modalities], axis=1)


def chance_level(
    train_target: Shaped[np.ndarray, "utterance"], test_target: Shaped[np.ndarray, "tested"]
) -> float:
    """Weighted F1 in percent without features: the better of two guesses, NaN without a target.

    One always names the commonest training class. The other names classes at random, as often as
    they occur in training; its precision and recall are taken at their expectations.
    """
    if not len(test_target):
        return float("nan")
    classes = np.unique(np.concatenate([train_target, test_target]))
    guess = np.array([np.mean(train_target == c) for c in classes])
    share = np.array([np.mean(test_target == c) for c in classes])
    commonest = share[guess.argmax()]
    always = commonest * 2 * commonest / (1 + commonest)
    return 100 * float(max(always, np.sum(share * 2 * guess * share / (guess + share))))


def style_recovery(
    seen: Stages,
    oracle: Sequence[Dialogue],
    *,
    least: int = 10,
    part: Bool[np.ndarray, "utterance"] | None = None,
) -> pd.DataFrame:
    """How close calibrated features are to the same utterances with every style undone.

    `oracle` holds the dialogues of `seen`, as `Study.oracle` returns them. R² is the squared
    correlation over utterances, so that one scale and offset per feature, the same for all
    speakers, do not count: the next layer learns those. Only utterances of speakers with at least
    `least` of them are used, and of those only `part`.

    Returns one row per modality, feature and calibration: "none" (raw features), "by speaker"
    (each speaker's features standardised to mean 0 and standard deviation 1), "learned" (the
    model's) and "best": the scale and shift of each speaker and feature that come closest to the
    oracle, which bounds what Eq. 2 can do. All but "learned" use the statistics of these very
    utterances. A feature that a calibration makes constant has R² 0; without any utterance all
    are NaN.

    Raises ValueError where `oracle` has other utterances, or where the calibrated features are
    no longer the corpus's own (film_site="projected").
    """
    truth = _oracle_features(seen, oracle)
    rows = _frequent(seen.speaker, least)
    if part is not None:
        rows &= part
    speaker = seen.speaker[rows]
    tables = []
    for modality, raw in seen.at["raw"].items():
        x, y = raw[rows], truth[modality][rows]
        scale, shift = _affine(x, y, speaker)
        spaces = (
            x,
            standardise_by_speaker(x, speaker),
            seen.at["calibrated"][modality][rows],
            scale.loc[speaker].to_numpy() * x + shift.loc[speaker].to_numpy(),
        )
        for calibration, space in zip(CALIBRATIONS, spaces, strict=True):
            tables.append(
                pd.DataFrame(
                    {
                        "modality": modality,
                        "feature": range(x.shape[1]),
                        "calibration": calibration,
                        "r2": _correlation(space, y) ** 2 if rows.any() else np.nan,
                    }
                )
            )
    return pd.concat(tables, ignore_index=True)


def recovery_by_modality(recovery: pd.DataFrame) -> pd.DataFrame:
    """Mean, 10 % and 90 % quantile of R² over a modality's features, and their number."""
    r2 = recovery.groupby(["modality", "calibration"], sort=False)["r2"]
    return pd.DataFrame(
        {
            "r2_mean": r2.mean(),
            "r2_low": r2.quantile(0.1),
            "r2_high": r2.quantile(0.9),
            "features": r2.size(),
        }
    ).reset_index()


def calibration_maps(seen: Stages, oracle: Sequence[Dialogue], *, least: int = 10) -> pd.DataFrame:
    """Each speaker's learned and true calibration: x~ = scale * x + shift, feature by feature.

    Both are found by least squares on the speaker's utterances in `seen`, from raw features to the
    model's calibrated ones and to those of `oracle`. Returns one row per speaker with at least
    `least` utterances, modality and feature: speaker, modality, feature, learned_scale,
    learned_shift, true_scale, true_shift. Raises ValueError as `style_recovery` does.
    """
    truth = _oracle_features(seen, oracle)
    rows = _frequent(seen.speaker, least)
    tables = []
    for modality, raw in seen.at["raw"].items():
        columns = {}
        for name, y in (("learned", seen.at["calibrated"][modality]), ("true", truth[modality])):
            found = _affine(raw[rows], y[rows], seen.speaker[rows])
            for part, table in zip(("scale", "shift"), found, strict=True):
                columns[f"{name}_{part}"] = table.rename_axis(columns="feature").stack()
        tables.append(pd.DataFrame(columns).reset_index().assign(modality=modality))
    order = ["speaker", "modality", "feature", *columns]
    return pd.concat(tables, ignore_index=True)[order]


def map_agreement(maps: pd.DataFrame) -> pd.DataFrame:
    """How well learned scale and shift follow the true ones from speaker to speaker, by modality.

    R² over speakers within a feature, since each feature's scale and offset are free, averaged
    over features. `chance` is its expectation for unrelated values, 1 / (speakers - 1). NaN for a
    modality whose learned or true maps do not differ by speaker.
    """
    rows = []
    for modality, part in maps.groupby("modality", sort=False):
        row = {"modality": modality, "speakers": part["speaker"].nunique()}
        for name in ("scale", "shift"):
            learned, true = (
                part.pivot(index="speaker", columns="feature", values=f"{kind}_{name}").to_numpy()
                for kind in ("learned", "true")
            )
            differ = np.minimum(np.ptp(learned, axis=0), np.ptp(true, axis=0)).max() > 1e-4
            row[f"{name}_r2"] = np.mean(_correlation(learned, true) ** 2) if differ else np.nan
        rows.append(row | {"chance": 1 / max(row["speakers"] - 1, 1)})
    return pd.DataFrame(rows)


def _oracle_features(
    seen: Stages, oracle: Sequence[Dialogue]
) -> dict[Modality, Float[np.ndarray, "utterance _"]]:
    """The oracle's features in the order of `seen`, after checking that both match."""
    if not np.array_equal(np.concatenate([d.label for d in oracle]), seen.label):
        raise ValueError("the oracle's dialogues are not those of the stages")
    for modality, raw in seen.at["raw"].items():
        if seen.at["calibrated"][modality].shape != raw.shape:
            raise ValueError(f"{modality} is calibrated after its projection: use film_site='raw'")
    return {m: np.concatenate([d.feature[m] for d in oracle]) for m in seen.at["raw"]}


def _frequent(speaker: np.ndarray, least: int) -> Bool[np.ndarray, "utterance"]:
    counts = Counter(speaker)
    return np.array([name != "" and counts[name] >= least for name in speaker])


def _affine(
    x: Float[np.ndarray, "utterance feature"],
    y: Float[np.ndarray, "utterance feature"],
    speaker: Shaped[np.ndarray, "utterance"],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each speaker's scale and shift of each feature that bring x closest to y."""
    by = pd.Index(speaker, name="speaker")
    x, y = (pd.DataFrame(a.astype(float), index=by) for a in (x, y))
    means = x.groupby("speaker").mean(), y.groupby("speaker").mean()
    away = x - means[0].loc[by]
    spread = (away**2).groupby("speaker").sum()
    scale = (away * y).groupby("speaker").sum() / spread.where(spread > 0, 1)
    return scale, means[1] - scale * means[0]


def _correlation(
    x: Float[np.ndarray, "row feature"], y: Float[np.ndarray, "row feature"]
) -> Float[np.ndarray, "feature"]:
    """Pearson's correlation of each column; 0 where either is constant."""
    x, y = (a.astype(float) - a.astype(float).mean(axis=0) for a in (x, y))
    size = np.sqrt(np.sum(x**2, axis=0) * np.sum(y**2, axis=0))
    return np.sum(x * y, axis=0) / np.where(size > 0, size, 1)
