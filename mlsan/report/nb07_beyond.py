"""Notebook 7: strangers enrolled (Table A5, Fig. A11), other models adapted (Table A11), and absent
or noisy modalities (Fig. A10)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Int
from matplotlib.figure import Figure

from mlsan.corpus import Dialogue
from mlsan.corpus.enrolment import Amount
from mlsan.evaluation import Counts, difference, mean_score
from mlsan.evaluation.counts import dialogue_counts
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import finding
from mlsan.report.style import DOUBLE, SYSTEM, dodge, legend_below, look_of, points
from mlsan.report.tables import BASE, FULL, STANDARDISED, Table, by_corpus, change, plus_minus
from mlsan.training import AS_PRINTED
from mlsan.vocabulary import Benchmark

# What the rows of Table A5 call an amount of enrolment.
AMOUNTS: dict[Amount, str] = {
    0: "ML-SAN, strangers: none",
    "past": "ML-SAN, strangers: the dialogue so far",
    "dialogue": "ML-SAN, strangers: the dialogue",
    10: "ML-SAN, strangers: 10 other utterances",
    "all": "ML-SAN, strangers: all",
}
# The amounts of Fig. A11: along its axis, and as marks of their own.
CURVE: tuple[Amount, ...] = (0, 1, 3, 10, 30, 100, "all")
MARKS: tuple[Amount, ...] = ("past", "dialogue")

TABLE5 = Artifact(
    "table5_enrolment",
    "07_beyond",
    "Table A5",
    "One trained ML-SAN per seed, tested with strangers enrolled from different amounts of their "
    "unlabelled test utterances: none, those of the dialogue so far, those of the dialogue, 10 of "
    "their other dialogues, or all. Weighted F1 (points), mean ± sd over seeds, on all, seen and "
    "unseen test speakers, and differences to MultiEMO with 95 % intervals over seeds and test "
    "dialogues. MultiEMO and ML-SAN as printed use no test utterance; no row uses a label.",
)


def enrolment_table(
    parts: Mapping[str, Mapping[Benchmark, Mapping[str, Counts]]], reference: str = BASE
) -> Table:
    """Table A5: amounts of enrolment, on parts of the test set such as seen and unseen speakers.

    `parts[part][benchmark][way]` are `gathered` counts of the same dialogues. `data` has one row
    per benchmark, way and part: benchmark, system (the way), part, utterances, seeds, asked,
    wf1_mean, wf1_sd (percent, over seeds), and delta, low and high, the difference to `reference`.
    What has no utterances or no finished run is NaN, and so is the difference of the reference to
    itself.
    """
    rows = []
    for benchmark in next(iter(parts.values())):
        for part, found in parts.items():
            for way, counts in found[benchmark].items():
                row = {"benchmark": benchmark, "system": way, "part": part}
                row |= {"utterances": int(counts.support.sum()), "seeds": len(counts.seeds)}
                row |= {"asked": counts.asked} | counts.mean_and_sd()
                base = found[benchmark].get(reference)
                delta = dict.fromkeys(("delta", "low", "high"), np.nan)
                if base is not None and way != reference:
                    delta = dict(zip(delta, difference(counts, base)[:3], strict=True))
                rows.append(row | delta)
    data = pd.DataFrame(rows)
    return Table(data, _shown(data))


def _shown(data: pd.DataFrame) -> pd.DataFrame:
    shown = []
    for benchmark, ways in data.groupby("benchmark", sort=False):
        counts = ways.groupby("part", sort=False)["utterances"].max()
        first = {"benchmark": benchmark, "system": "(utterances)"}
        shown.append(first | {part: f"{count:,}" for part, count in counts.items()})
        for way, found in ways.groupby("system", sort=False):
            line = {"benchmark": benchmark, "system": way}
            for part in found.itertuples():
                line[part.part] = plus_minus(part.wf1_mean, part.wf1_sd)
                line[f"Δ {part.part} [95 %]"] = change(part.delta, part.low, part.high)
            shown.append(line)
    order = max(shown, key=len)
    return pd.DataFrame(shown, columns=list(order)).fillna("")


FIG11 = Artifact(
    "fig11_enrolment",
    "07_beyond",
    "Fig. A11",
    "Weighted F1 (points) on unseen test speakers against the number of their unlabelled test "
    'utterances, of other dialogues, that calibrate them; "all" are all of their test '
    "utterances. One trained ML-SAN per seed serves every number; MultiEMO and ML-SAN as printed "
    "use none. Means over seeds with 95 % intervals over seeds and test dialogues.",
    needs="strangers",
)
ORACLE = "oracle: MultiEMO, speakers all alike"


def enrolment_curve(
    amounts: Mapping[Benchmark, Mapping[Amount, Counts]],
    lines: Mapping[Benchmark, Mapping[str, Counts]],
) -> pd.DataFrame:
    """Fig. A11's data: weighted F1 on the utterances of unseen speakers.

    `amounts` are ML-SAN's counts by amount of enrolment, `lines` those of systems that enrol
    nobody. Columns: benchmark, system, amount ("" for a line), utterances, wf1, low, high, seeds,
    and gained: the share of the gain from none to all, NaN where all gains nothing.
    """
    rows = []
    for benchmark, found in amounts.items():
        curve = {(FULL, str(amount)): counts for amount, counts in found.items()}
        curve |= {(name, ""): counts for name, counts in lines.get(benchmark, {}).items()}
        none, most = (mean_score(found[amount]).value for amount in (0, "all"))
        for (system, amount), counts in curve.items():
            value, low, high, seeds = mean_score(counts)
            row = {"benchmark": benchmark, "system": system, "amount": amount}
            row |= {"utterances": int(counts.support.sum())}
            row |= {"wf1": value, "low": low, "high": high, "seeds": seeds}
            row["gained"] = (value - none) / (most - none) if amount and most > none else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def enrolment_figure(curve: pd.DataFrame) -> Figure:
    """Fig. A11: `enrolment_curve`, one panel per benchmark. Lines with bands enrol nobody."""
    corpora = list(by_corpus(curve))
    figure, axes = plt.subplots(
        1, len(corpora), figsize=(DOUBLE, 2.9), squeeze=False, layout="constrained"
    )
    ticks = [*map(str, CURVE), *MARKS]
    places = dict(zip(ticks, [*range(len(CURVE)), len(CURVE) + 0.4, len(CURVE) + 2], strict=True))
    for axis, (corpus, part) in zip(axes[0], corpora, strict=True):
        for row in part[part["amount"] == ""].itertuples():
            look = LINES.get(row.system, {"color": "0.4"})
            axis.axhspan(row.low, row.high, color=look["color"], alpha=0.12, linewidth=0)
            axis.axhline(row.wf1, label=row.system, **look)
        own = part[part["amount"] != ""].set_index("amount")
        look = look_of(FULL) | {"label": FULL}
        along = own.loc[[amount for amount in ticks[: len(CURVE)] if amount in own.index]]
        points(axis, along.index.map(places).to_numpy(), along, "wf1", **look)
        apart = own.loc[[amount for amount in MARKS if amount in own.index]]
        look |= {"linestyle": "", "marker": "D", "label": f"{FULL}, from the dialogue itself"}
        points(axis, apart.index.map(places).to_numpy(), apart, "wf1", **look)
        axis.axvline(len(CURVE) - 0.4, color="0.8", linewidth=0.8)
        names = [*ticks[: len(CURVE)], "dialogue\nso far", "dialogue"]
        axis.set_xticks(list(places.values()), names)
        axis.set_xlim(-0.4, max(places.values()) + 0.6)
        axis.set(title=f"{corpus}: {own['utterances'].max():,} utterances of strangers")
        axis.set_xlabel("unlabelled utterances of the stranger")
    axes[0, 0].set_ylabel("W-F1 (%)")
    legend_below(figure, axes[0, 0], columns=3)
    return figure


LINES: dict[str, dict[str, str]] = {
    BASE: {"color": SYSTEM[BASE]},
    AS_PRINTED: {"color": SYSTEM[AS_PRINTED], "linestyle": "--"},
    STANDARDISED: {"color": SYSTEM[BASE], "linestyle": ":"},
    ORACLE: {"color": "0.35", "linestyle": ":"},
}


TABLE11 = Artifact(
    "table11_adapted",
    "07_beyond",
    "Table A11",
    "Models without and with ML-SAN's three parts: FiLM on audio and visual features, speaker gate "
    "and speaker head. MultiEMO with them is ML-SAN; around the other models gate and head are on "
    "what the classifier reads. Weighted F1 (points) on test, mean ± sd over seeds, with "
    "strangers enrolled with none and with all of their unlabelled test utterances, and paired "
    "differences to the model alone with 95 % intervals over seeds and test dialogues.",
)
# What the columns of Table A11 call the amounts of enrolment.
STRANGERS: dict[str, Amount] = {"none": 0, "all": "all"}


def adapted_table(found: Mapping[Benchmark, Mapping[str, Mapping[str, Counts]]]) -> Table:
    """Table A11: what each model gains from the three parts.

    `found[benchmark][model][strangers]` are counts of the same dialogues: of the model alone under
    "", and with the parts under each of `STRANGERS`. `data` has one row for each: benchmark,
    system (the model), strangers, seeds, asked, wf1_mean, wf1_sd (points, over seeds), and delta,
    low and high, the difference to the model alone, which are NaN for that model itself and
    without finished runs.
    """
    rows, shown = [], []
    for benchmark, models in found.items():
        for model, ways in models.items():
            alone = ways[""]
            line = {"benchmark": benchmark, "model": model}
            for strangers, counts in ways.items():
                row = {"benchmark": benchmark, "system": model, "strangers": strangers}
                row |= {"seeds": len(counts.seeds), "asked": counts.asked} | counts.mean_and_sd()
                delta = dict.fromkeys(("delta", "low", "high"), np.nan)
                if strangers:
                    delta = dict(zip(delta, difference(counts, alone)[:3], strict=True))
                rows.append(row | delta)
                what = f"with the parts, strangers: {strangers}" if strangers else "alone"
                line[what] = plus_minus(row["wf1_mean"], row["wf1_sd"])
                if strangers:
                    line[f"Δ {strangers} [95 %]"] = change(**delta)
            shown.append(line)
    return Table(pd.DataFrame(rows), pd.DataFrame(shown))


def adapted_findings(data: pd.DataFrame) -> list[str]:
    """What Table A11 shows, from its data: one sentence per benchmark and amount of enrolment."""
    found = []
    compared = data[data["strangers"] != ""].dropna(subset=["delta", "low"])
    which = "corpus" if "corpus" in data else "benchmark"
    for (benchmark, strangers), part in compared.groupby([which, "strangers"], sort=False):
        gain, lose = (part["low"] > 0).sum(), (part["high"] < 0).sum()
        each = "; ".join(
            f"{row.system} {change(row.delta, row.low, row.high)}" for row in part.itertuples()
        )
        found.append(
            f"{benchmark}, strangers enrolled with {strangers}: of {len(part)} models {gain} gain "
            f"(interval above zero) and {lose} lose (interval below zero): {each}."
        )
    return found


FIG10 = Artifact(
    "fig10_robustness",
    "07_beyond",
    "Fig. A10",
    "Weighted F1 (points) with a modality absent or with noise at test time, trained with and "
    "without modality dropout, with 95 % intervals over seeds and test dialogues. Strangers are "
    "not enrolled.",
)


def robustness_table(
    predictions: pd.DataFrame, emotions: Mapping[Benchmark, Sequence[str]]
) -> pd.DataFrame:
    """Fig. A10's data: weighted F1 by condition, mean over seeds with its interval.

    `predictions` are `degraded_predictions` of each run, with benchmark, system, dropout (the rate
    of modality dropout in training) and seed added; `emotions` are those of each benchmark.
    Returns one row per benchmark, system, dropout and condition: absent, noise, wf1_mean, low,
    high, seeds.
    """
    keys = ["benchmark", "system", "dropout", "condition", "absent", "noise"]
    rows = []
    for key, part in predictions.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        counts = dialogue_counts(dict(iter(part.groupby("seed"))), len(emotions[row["benchmark"]]))
        value, low, high, seeds = mean_score(counts)
        rows.append(row | {"wf1_mean": value, "low": low, "high": high, "seeds": seeds})
    return pd.DataFrame(rows)


def robustness_figure(table: pd.DataFrame) -> Figure:
    """Fig. A10: `robustness_table`, one row per benchmark: absent modalities left, noise right.

    Hollow marks and dashed lines stand for models trained with modality dropout.
    """
    corpora = list(by_corpus(table))
    arms = list(table[["system", "dropout"]].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = plt.subplots(
        len(corpora),
        2,
        figsize=(DOUBLE, 2.1 * len(corpora) + 0.3),
        squeeze=False,
        sharey="row",
        layout="constrained",
    )
    for (left, right), (corpus, part) in zip(axes, corpora, strict=True):
        kinds = list(dict.fromkeys(part.loc[part["noise"] == 0, "condition"]))
        levels = sorted(part.loc[part["absent"] == "", "noise"].unique())
        for arm in arms:
            system, dropout = arm
            found = part.query("system == @system and dropout == @dropout")
            label = system + (", modality dropout in training" if dropout else "")
            look = look_of(system, hollow=dropout > 0) | {"label": label}
            absent = found[found["noise"] == 0].set_index("condition").reindex(kinds)
            place = np.arange(len(kinds)) + dodge(arms, arm)
            points(left, place, absent, "wf1_mean", **look | {"linestyle": ""})
            noise = found[found["absent"] == ""].sort_values("noise")
            place = noise["noise"].to_numpy() + dodge(arms, arm) / 2
            points(right, place, noise, "wf1_mean", **look)
        left.set_xticks(range(len(kinds)), kinds)
        left.set(
            ylabel="W-F1 (%)",
            title=f"{corpus}: a modality absent",
            xlim=(-0.5, len(kinds) - 0.5),
        )
        right.set(title=f"{corpus}: noise on all features", xticks=levels)
    for axis in axes[:, 0]:
        axis.set_ylim(bottom=max(0, axis.get_ylim()[0]))
    axes[-1, 1].set_xlabel("noise, in standard deviations of the feature")
    legend_below(figure, axes[0, 1], columns=2)
    return figure


# -- findings --

WITHOUT_SPEAKER = "BC-LSTM"  # the model of Table A11 that does not read who speaks


def way_answer(away: Mapping[int, float]) -> str:
    """How much of the way to a stranger's style a number of utterances goes.

    `away` are root mean square distances to the mean of all utterances, by number of utterances;
    that of 0 is the population's.
    """
    share = {n: f"{100 * (1 - found / away[0]):.0f} %" for n, found in away.items() if n}
    one = share.pop(1)
    rest = ", ".join(f"{n} go {text}" for n, text in share.items())
    return (
        f"**One utterance goes {one} of the way** from the population's mean to that of all of the "
        f"stranger's utterances: the distance falls from {away[0]:.2f} to {away[1]:.2f} (root mean "
        f"square over features). Of more utterances, {rest}."
    )


def changed_answers(
    dialogues: Sequence[Dialogue],
    unknown: Sequence[Int[np.ndarray, "_turn"]],
    enrolled: Sequence[Int[np.ndarray, "_turn"]],
    stranger: str,
    emotions: Sequence[str],
) -> str:
    """What enrolment changes in the answers for one stranger, and the first ten changes.

    `unknown` and `enrolled` are the predictions of all turns of each dialogue without and with the
    stranger's style; `emotions` are those of the corpus in label order.
    """
    ways = ("not enrolled", "enrolled")
    rows = []
    for dialogue, *predicted in zip(dialogues, unknown, enrolled, strict=True):
        for turn in np.flatnonzero(np.array(dialogue.speaker) == stranger):
            row = {"dialogue": dialogue.id, "turn": str(turn + 1)}
            labels = (dialogue.label[turn], *(answers[turn] for answers in predicted))
            rows.append(row | dict(zip(("true emotion", *ways), labels, strict=True)))
    table = pd.DataFrame(rows)
    table[["true emotion", *ways]] = np.array(emotions)[table[["true emotion", *ways]]]
    right = {way: table[way] == table["true emotion"] for way in ways}
    changed = table[ways[0]] != table[ways[1]]
    better, worse = (int((changed & right[way]).sum()) for way in reversed(ways))
    text = (
        f"**Enrolment changes {changed.sum()} of {len(table)} answers**: {better} become right and "
        f"{worse} become wrong. Correct: "
        + ", ".join(f"{way} {100 * found.mean():.0f} %" for way, found in right.items())
    )
    if not changed.any():
        return f"{text}."
    first = table[changed].head(10).to_markdown(index=False, disable_numparse=True)
    return f"{text}. The first changes:\n\n{first}"


def enrolment_findings(rows: pd.DataFrame) -> list[str]:
    """Which rows of Table A5 are better than MultiEMO, by corpus and part: its data with corpus.

    A row is better if its whole interval is above zero, worse if the whole interval is below.
    """
    lines = []
    compared = rows.dropna(subset=["delta", "low"])
    for (name, part), own in compared.groupby(["corpus", "part"], sort=False):
        others = compared[(compared["corpus"] == name) & (compared["part"] != part)]
        if part == "all" and (others["utterances"] == own["utterances"].max()).any():
            continue  # the same speakers under another name
        kinds = {"better": own["low"] > 0, "worse": own["high"] < 0}
        kinds["undecided"] = ~(kinds["better"] | kinds["worse"])
        each = "; ".join(
            f"**{kind}**: {', '.join(map(_with_change, own[there].itertuples()))}"
            for kind, there in kinds.items()
            if there.any()
        )
        utterances = f"{own['utterances'].max():,} utterances"
        lines.append(f"{name}, {part} speakers ({utterances}), against {BASE}: {each}.")
    return lines


def _with_change(row: object) -> str:
    return f"{_short(row.system)} {change(row.delta, row.low, row.high)}"


def _short(way: str) -> str:
    """What strangers are enrolled with, or the system where nobody is enrolled."""
    return way.removeprefix(f"{FULL}, strangers: ")


def dialogue_answer(rows: pd.DataFrame) -> list[str]:
    """Where the dialogue comes in among the amounts of enrolment, on unseen speakers.

    `rows` are the data of Table A5 with corpus; where no speakers are named, all count.
    """
    part = "unseen" if (rows["part"] == "unseen").any() else "all"
    kept = rows[rows["system"].isin(AMOUNTS.values()) & (rows["part"] == part)].dropna(
        subset="wf1_mean"
    )
    lines = []
    for name, own in kept.groupby("corpus", sort=False):
        scores = own.set_index("system")["wf1_mean"].sort_values(ascending=False, kind="stable")
        scores = scores.rename(index=_short)
        place = scores.index.tolist().index(_short(AMOUNTS["dialogue"])) + 1
        order = ", ".join(f"{amount} {score:.2f}" for amount, score in scores.items())
        lines.append(
            f"**{name}: the dialogue is number {place} of {len(scores)}, counted from the best** "
            f"({order})."
        )
    return lines


def half_answer(curve: pd.DataFrame) -> list[str]:
    """At which number of Fig. A11 half of the gain is reached, where more enrolment gains.

    `curve` is `enrolment_curve` with the column corpus.
    """
    lines = []
    for name, part in curve.groupby("corpus", sort=False):
        gained = part[part["amount"] != ""].set_index("amount")["gained"]
        along = gained.reindex([str(amount) for amount in CURVE if amount])
        reached = along.index[along >= 0.5]
        if along.isna().all() or not len(reached):
            lines.append(f"**{name}: enrolment with all utterances gains nothing.**")
            continue
        enough = f"{reached[0]} utterance{'' if reached[0] == '1' else 's'}"
        lines.append(
            f"**{name}: half of the gain is reached with {enough}** "
            f"({100 * along[reached[0]]:.0f} % of what all utterances gain)."
        )
    return lines


def curve_sentences(curve: pd.DataFrame) -> list[str]:
    """The points of Fig. A11 in words: `enrolment_curve` with the column corpus."""
    lines = []
    for name, part in curve.groupby("corpus", sort=False):
        own = part[part["amount"] != ""].set_index("amount")
        line = part[part["amount"] == ""].set_index("system")["wf1"]
        gain = own["wf1"] - line[BASE]
        oracle = f" The oracle scores {line[ORACLE]:.2f}." if ORACLE in line else ""
        lines.append(
            f"{name}: {FULL} minus {BASE} is {gain['0']:+.2f} points without enrolment, "
            f"{gain['10']:+.2f} with 10 utterances and {gain['all']:+.2f} with all; it is "
            f"{gain['past']:+.2f} with the dialogue so far and {gain['dialogue']:+.2f} with the "
            f"dialogue. The curve {course(own)} with more utterances.{oracle}"
        )
    return lines


def course(own: pd.DataFrame) -> str:
    """Whether an `enrolment_curve` falls anywhere: its rows of one corpus, indexed by amount."""
    along = own.loc[[str(amount) for amount in CURVE], "wf1"]
    fall = max(0.0, float((along.cummax() - along).max()))
    return f"falls by at most {fall:.2f} points" if fall else "never falls"


def speaker_answer(data: pd.DataFrame) -> list[str]:
    """Whether models that read who speaks gain more: Table A11's data with corpus."""
    lines = []
    full = data[data["strangers"] == "all"].dropna(subset="delta")
    for name, part in full.groupby("corpus", sort=False):
        delta = part.set_index("system")["delta"]
        most, least = delta.idxmax(), delta.idxmin()
        text = f"**{name}: {most} gains most** ({delta[most]:+.2f} points) and {least} least "
        text += f"({delta[least]:+.2f})."
        if WITHOUT_SPEAKER in delta and len(delta) > 1:
            rest = delta.drop(WITHOUT_SPEAKER).mean()
            text += (
                f" {WITHOUT_SPEAKER}, which does not read who speaks, gains "
                f"{delta[WITHOUT_SPEAKER]:+.2f}, the models that do {rest:+.2f} on average."
            )
        lines.append(text)
    return lines


def dropout_findings(
    predictions: pd.DataFrame,
    emotions: Mapping[Benchmark, Sequence[str]],
    names: Mapping[Benchmark, str],
) -> list[str]:
    """Whether modality dropout costs something on clean data.

    `predictions` are those of `robustness_table`, `names` what each corpus is called.
    """
    lines = []
    clean = predictions[predictions["condition"] == "clean"]
    for (benchmark, system), part in clean.groupby(["benchmark", "system"], sort=False):
        without, trained = (
            dialogue_counts(dict(iter(own.groupby("seed"))), len(emotions[benchmark]))
            for own in (part[part["dropout"] == 0], part[part["dropout"] > 0])
        )
        says = f"{names[benchmark]}: modality dropout lowers {system}'s score on clean data"
        lines.append(finding(says, difference(trained, without), -np.inf, 0.0))
    return lines


def absent_answer(table: pd.DataFrame) -> list[str]:
    """Which missing modality costs most, by corpus and system: `robustness_table` with corpus."""
    lines = []
    for (name, system), part in table.groupby(["corpus", "system"], sort=False):
        found = []
        for dropout, own in part.groupby("dropout"):
            clean = own.loc[own["condition"] == "clean", "wf1_mean"].iloc[0]
            absent = own[own["absent"] != ""].set_index("absent")["wf1_mean"]
            if absent.empty:
                continue
            worst = absent.idxmin()
            how = "with modality dropout " if dropout else ""
            found.append(f"{how}{worst} (-{clean - absent[worst]:.1f} points)")
        if found:
            lines.append(f"**{name}, {system}: missed most** is {'; '.join(found)}.")
    return lines
