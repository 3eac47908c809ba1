"""Notebook 9: real voices (Table A8 and Fig. A12), on nEMO."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlsan.corpus.enrolment import Amount
from mlsan.corpus.nemo.protocols import NOTES
from mlsan.evaluation import Counts, difference, mean_score
from mlsan.evaluation.acoustics import HIGHEST, LOWEST, contour, mel_spectrogram
from mlsan.evaluation.significance import NO_TEST, adjusted, compared
from mlsan.report.declaration import Artifact
from mlsan.report.lessons import delta_of, finding
from mlsan.report.nb07_beyond import course
from mlsan.report.style import DOUBLE, MODALITY, SMALL, dodge, legend_below, look_of, points
from mlsan.report.tables import BASE, FULL, STANDARDISED, Table, against, change, p_text, plus_minus
from mlsan.training import AS_PRINTED

MADE_UP = f"{NOTES[0][0].upper()}{NOTES[0][1:]}."
LINEAR, FLAT = "linear probe", "linear probe, features standardised by speaker"
ORDER = (LINEAR, FLAT, BASE, STANDARDISED, AS_PRINTED, FULL)
NOTEBOOK = "09_voices"
GENDER = {"female": "#882255", "male": "#44AA99"}

TABLE8 = Artifact(
    "table8_voices",
    NOTEBOOK,
    "Table A8",
    "nEMO: weighted F1 (points), mean ± sd over seeds, and differences to MultiEMO with 95 % "
    "intervals over seeds and test sessions. Seen: all nine actors, test sentences that training "
    "lacks. Unseen: folds whose test actors training lacks, pooled into one test set (five folds "
    "with all nine actors; two in profile smoke), by the number of unlabelled utterances of other "
    'test sessions that each of them is enrolled with ("all": all of their test utterances). Rows '
    "on standardised features use all utterances of every speaker, those of test included; the "
    "others use no test utterance. p is that of the paired t-test over seeds with Holm's "
    "correction. A linear probe is the same for every seed.",
    needs="voices",
)

Unseen = Mapping[tuple[str, str], Counts]
"""By system and amount of enrolment, "" for none."""


def voices_table(seen: Mapping[str, Counts], unseen: Unseen) -> Table:
    """Table A8: every system on seen and on unseen actors, with tests against MultiEMO.

    `data` has one row per protocol, system and amount: protocol, system, amount, reference,
    utterances, wf1_mean, wf1_sd (over seeds; NaN for the probes, which are the same for every
    seed), asked, and the columns of `compare_all`. ML-SAN is also compared with MultiEMO on
    standardised features. Holm's adjustment is over all rows.
    """
    protocols: dict[str, Unseen] = {
        "seen": {(system, ""): counts for system, counts in seen.items()},
        "unseen": unseen,
    }
    rows = []
    for protocol, entries in protocols.items():
        for (system, amount), counts in entries.items():
            most = next((c for (s, _), c in entries.items() if s == STANDARDISED), None)
            also = system == FULL and amount in ("", "all") and most is not None
            for name, other in ((BASE, entries[BASE, ""]), *([(STANDARDISED, most)] * also)):
                row = {"protocol": protocol, "system": system, "amount": amount}
                row |= {"reference": "" if system == name else name}
                row |= {"utterances": int(counts.support.sum()), **counts.mean_and_sd()}
                if system in (LINEAR, FLAT):
                    row["wf1_sd"] = np.nan
                row |= {"asked": counts.asked, "seeds": len(counts.seeds)} | NO_TEST
                rows.append(row | (compared(counts, other) if system != name else {}))
    data = adjusted(pd.DataFrame(rows))
    return Table(data, _shown(data))


def _shown(data: pd.DataFrame) -> pd.DataFrame:
    """One line per comparison; seen actors first, systems in the order of ORDER."""
    order = sorted(
        data.to_dict("records"), key=lambda row: (row["protocol"], ORDER.index(row["system"]))
    )
    return pd.DataFrame(
        {
            "actors": row["protocol"],
            "system": against(row["system"], row["reference"]),
            "unlabelled utterances": "every speaker's"
            if row["system"] in (FLAT, STANDARDISED)
            else {"": "none", "0": "none"}.get(row["amount"], row["amount"]),
            "W-F1": plus_minus(row["wf1_mean"], row["wf1_sd"]),
            "Δ [95 %]": change(row["delta"], row["low"], row["high"]),
            "t-test p, Holm": p_text(row["p_t_holm"]),
        }
        for row in order
    )


SOUND = Artifact(
    "fig12_voices_sound",
    NOTEBOOK,
    "Fig. A12a",
    "One sentence by two actors in two emotions: waveform, mel spectrogram (dB) and pitch. The CSV "
    "has pitch and sound level by frame.",
    needs="voices",
)


def players(files: Mapping[str, Path]) -> str:
    """An HTML table with a name and an audio player per WAV file; files that are absent have none.

    The files are embedded, so that the page plays them wherever it is.
    """
    rows = []
    for name, file in files.items():
        player = "not installed"
        if file.exists():
            data = base64.b64encode(file.read_bytes()).decode()
            player = f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
        rows.append(f"<tr><td>{html.escape(name)}</td><td>{player}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def sound_table(
    clips: Mapping[str, tuple[Float[np.ndarray, "_sample"], int]],
) -> pd.DataFrame:
    """Pitch (Hz) and level (dB) of clips, samples with their rate: clip, time (s), pitch, level."""
    parts = [
        pd.DataFrame(contour(samples, rate)._asdict()).assign(clip=name)
        for name, (samples, rate) in clips.items()
    ]
    return pd.concat(parts, ignore_index=True)[["clip", "time", "pitch", "level"]]


def sound_figure(
    clips: Mapping[str, tuple[Float[np.ndarray, "_sample"], int]], frames: pd.DataFrame
) -> Figure:
    """Fig. A12a: a column per clip. `frames` is `sound_table`."""
    figure, axes = plt.subplots(
        3,
        len(clips),
        figsize=(DOUBLE, 4.2),
        squeeze=False,
        sharex="col",
        sharey="row",
        layout="constrained",
    )
    for (wave, mel, pitch), (name, (samples, rate)) in zip(axes.T, clips.items(), strict=True):
        seconds = len(samples) / rate
        time = np.arange(len(samples)) / rate
        wave.plot(time, samples, color="0.3", linewidth=0.3, rasterized=True)
        wave.set(title=name, xlim=(0, seconds))
        power = mel_spectrogram(samples, rate)
        extent = (0, seconds, 0, len(power))
        look = {"origin": "lower", "aspect": "auto", "cmap": "magma", "interpolation": "nearest"}
        mel.imshow(power, extent=extent, vmin=power.max() - 70, vmax=power.max(), **look)
        own = frames[frames["clip"] == name]
        pitch.plot(own["time"], own["pitch"], ".", markersize=2, color=MODALITY["audio"])
        middle = own["pitch"].median()
        pitch.axhline(middle, color="0.5", linewidth=0.8, linestyle=":")
        pitch.annotate(
            f"{middle:.0f} Hz", (seconds, middle), ha="right", va="bottom", fontsize=SMALL
        )
        pitch.set(yscale="log", ylim=(LOWEST, HIGHEST), xlabel="time (s)")
    axes[2, 0].set_yticks([100, 200, 400], ["100", "200", "400"])
    axes[2, 0].minorticks_off()
    for axis, name in zip(axes[:, 0], ("amplitude", "mel band", "pitch (Hz)"), strict=True):
        axis.set_ylabel(name)
    return figure


CALIBRATION = Artifact(
    "fig12_voices_calibration",
    NOTEBOOK,
    "Fig. A12b",
    "Mean pitch and sound level of every test utterance of two unseen actors, before and after "
    "calibration with all of their unlabelled utterances; squares are medians. Pitch is "
    "eGeMAPS' F0semitoneFrom27.5Hz_sma3nz_amean in Hz, level its equivalentSoundLevel_dBp.",
    needs="voices",
)


def calibration_figure(places: pd.DataFrame, genders: Mapping[str, str]) -> Figure:
    """Fig. A12b: `pitch_and_level` of two actors, one panel per stage."""
    figure, axes = plt.subplots(
        1, 2, figsize=(DOUBLE, 2.8), sharex=True, sharey=True, layout="constrained"
    )
    for axis, (stage, part) in zip(axes, places.groupby("stage", sort=False), strict=True):
        for actor, own in part.groupby("speaker", sort=False):
            gender = genders[actor]
            look = {"color": GENDER[gender], "linestyle": ""}
            axis.plot(own["pitch"], own["level"], "o", markersize=2, alpha=0.35, **look)
            middle = own[["pitch", "level"]].median()
            edge = {"markeredgecolor": "black", "label": f"{actor} ({gender})"}
            axis.plot(*middle, "s", markersize=7, **look, **edge)
        axis.set(title=stage, xlabel="mean pitch (Hz)", xscale="log")
    axes[0].set_xticks([100, 150, 200, 300], ["100", "150", "200", "300"])
    axes[0].minorticks_off()
    axes[0].set_ylabel("sound level (dB)")
    legend_below(figure, axes[0], columns=2)
    return figure


CURVES = Artifact(
    "fig12_voices_enrolment",
    NOTEBOOK,
    "Fig. A12c",
    "Weighted F1 (points) on unseen actors, folds pooled, against the number of their "
    'unlabelled utterances of other test sessions that calibrate them; "all" are all of their test '
    "utterances. One trained ML-SAN per seed and fold serves every number. MultiEMO on features "
    "standardised by speaker uses all utterances of every speaker, MultiEMO and ML-SAN as printed "
    "use none. Means over seeds with 95 % intervals over seeds and test sessions.",
    needs="voices",
)

ACTORS = Artifact(
    "fig12_voices_actors",
    NOTEBOOK,
    "Fig. A12d",
    "Weighted F1 (points) of each actor, unseen in training: MultiEMO, ML-SAN without enrolment "
    "and with all of the actor's unlabelled test utterances; and what full enrolment gains over "
    "MultiEMO. Means over seeds with 95 % intervals over seeds and test sessions.",
    needs="voices",
)


def actors_table(
    systems: Mapping[str, Mapping[str, Counts]], genders: Mapping[str, str]
) -> pd.DataFrame:
    """Every actor's score with every system: `by_actor` counts by system.

    Columns: actor, gender, system, utterances, seeds, wf1, low, high, and delta, delta_low and
    delta_high, the difference to MultiEMO (NaN for MultiEMO). Actors are in the order of the last
    system's gain, the largest first.
    """
    rows = []
    for system, actors in systems.items():
        for actor, counts in actors.items():
            row = {"actor": actor, "gender": genders[actor], "system": system}
            row |= {"utterances": int(counts.support.sum()), "seeds": len(counts.seeds)}
            row |= dict(zip(("wf1", "low", "high"), mean_score(counts)[:3], strict=True))
            delta = np.full(3, np.nan)
            if system != BASE:
                delta = difference(counts, systems[BASE][actor])[:3]
            rows.append(row | dict(zip(("delta", "delta_low", "delta_high"), delta, strict=True)))
    table = pd.DataFrame(rows)
    last = table[table["system"] == table["system"].iloc[-1]].set_index("actor")["delta"]
    return table.sort_values("actor", key=lambda a: -a.map(last), kind="stable", ignore_index=True)


def actors_figure(table: pd.DataFrame) -> Figure:
    """Fig. A12d: `actors_table`; scores left, gains right."""
    actors, systems = list(table["actor"].unique()), list(table["system"].unique())
    figure, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE, 2.9), layout="constrained")
    for system in systems:
        own = table[table["system"] == system].set_index("actor").loc[actors]
        name = FULL if system.startswith(FULL) else system
        look = look_of(name, hollow="none" in system) | {"label": system, "linestyle": ""}
        place = np.arange(len(actors)) + 1.5 * dodge(systems, system)
        points(left, place, own, "wf1", **look)
    gains = own[["delta", "delta_low", "delta_high"]]
    gains = gains.rename(columns={"delta_low": "low", "delta_high": "high"})
    look = look_of(FULL) | {"linestyle": ""}
    points(right, np.arange(len(actors)), gains, "delta", **look)
    right.axhline(0, color="black", linewidth=0.8)
    names = [f"{actor}\n{own.loc[actor, 'gender'][0]}" for actor in actors]
    for axis in (left, right):
        axis.set_xticks(range(len(actors)), names)
    left.set_ylabel("W-F1 (%)")
    right.set_ylabel(f"{FULL}, all − {BASE} (points)")
    legend_below(figure, left, columns=len(systems))
    return figure


INSIDE = Artifact(
    "fig12_voices_inside",
    NOTEBOOK,
    "Fig. A12e",
    "Left: the features that FiLM moves most, with eGeMAPS' names: median absolute change of each "
    "unseen actor's utterances, in standard deviations over the training clips, enrolled with all "
    "unlabelled test utterances, mean over seeds; bars are means over actors. Right: the gate of "
    "each seen actor, mean over channels, one dot per seed.",
    needs="voices",
)


def most_moved(moved: pd.DataFrame, count: int = 12) -> list[str]:
    """The features with the largest mean `move` over speakers, the largest first."""
    return moved.groupby("feature")["move"].mean().nlargest(count).index.tolist()


def inside_figure(moved: pd.DataFrame, gates: pd.DataFrame, genders: Mapping[str, str]) -> Figure:
    """Fig. A12e: `moved` has speaker, feature and move, `gates` speaker, seed and gate."""
    features = most_moved(moved)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(DOUBLE, 3.2), width_ratios=(1.2, 1), layout="constrained"
    )
    rows = moved[moved["feature"].isin(features)]
    means = rows.groupby("feature")["move"].mean().loc[features]
    left.barh(range(len(features)), means, color="0.88")
    _dots(left, rows["move"], rows["feature"].map(features.index), rows["speaker"], genders)
    left.set_yticks(range(len(features)), features)
    left.invert_yaxis()
    left.set_xlabel("change by calibration (sd)")
    actors = list(gates["speaker"].unique())
    _dots(right, gates["gate"], gates["speaker"].map(actors.index), gates["speaker"], genders)
    right.set_yticks(range(len(actors)), actors)
    right.invert_yaxis()
    right.set(xlabel="gate: mean of $g$", xlim=(0, 1))
    legend_below(figure, left, columns=2)
    return figure


def _dots(
    axis: Axes, x: pd.Series, y: pd.Series, speaker: pd.Series, genders: Mapping[str, str]
) -> None:
    gender = speaker.map(lambda name: genders.get(name, ""))
    for name, colour in GENDER.items():
        own = gender == name
        axis.plot(x[own], y[own], "o", markersize=3, color=colour, label=name)
    axis.plot(x[gender == ""], y[gender == ""], "o", markersize=3, color="0.5")


CONFUSION = Artifact(
    "fig12_voices_confusion",
    NOTEBOOK,
    "Fig. A12f",
    "Confusion of emotions on unseen actors, folds pooled: MultiEMO, and ML-SAN with all of "
    "the actors' unlabelled test utterances. Row percentages, with counts summed over seeds.",
    needs="voices",
)


def largest_changes(shares: pd.DataFrame, systems: Sequence[str], count: int = 3) -> pd.DataFrame:
    """The confusions whose share changes most from the first to the second of `systems`.

    Columns: emotion, predicted, before, after and change (points), the largest change first.
    """
    wide = shares.pivot(index=["emotion", "predicted"], columns="system", values="share") * 100
    found = pd.DataFrame({"before": wide[systems[0]], "after": wide[systems[1]]}).reset_index()
    found = found[found["emotion"] != found["predicted"]]
    found["change"] = found["after"] - found["before"]
    return found.sort_values("change", key=lambda c: -c.abs(), ignore_index=True).head(count)


# -- findings --


def voices_findings(data: pd.DataFrame) -> list[str]:
    """Whether ML-SAN is better than what it is compared with: the data of Table A8."""
    lines = []
    rows = data[data["system"] == FULL].dropna(subset=["delta", "low"])
    for row in rows.itertuples():
        with_how_many = {"0": "not enrolled", "1": "enrolled with 1 utterance"}.get(
            row.amount, f"enrolled with {row.amount} utterances"
        )
        who = "seen actors" if row.protocol == "seen" else f"unseen actors, {with_how_many}"
        lines.append(finding(f"{who}: {FULL} is better than {row.reference}", delta_of(row)))
    return lines


def gain_answer(people: pd.DataFrame) -> str:
    """Who gains from enrolment: the rows of one system in `actors_table`."""
    gain, lose = (people["delta_low"] > 0).sum(), (people["delta_high"] < 0).sum()
    says = "Everybody gains" if gain == len(people) else "Not everybody gains for certain"
    ends = people.loc[[people["delta"].idxmax(), people["delta"].idxmin()]]
    most, least = (
        f"{row.actor}, {change(row.delta, row.delta_low, row.delta_high)}"
        for row in ends.itertuples()
    )
    return (
        f"**{says}.** Of {len(people)} actors {gain} gain (interval above zero) and {lose} lose "
        f"(interval below zero). The largest gain is that of {most}; the smallest that of {least}."
    )


def changes_answer(shares: pd.DataFrame, systems: Sequence[str]) -> list[str]:
    """The `largest_changes` in words."""
    return [
        f"{row.emotion} taken for {row.predicted}: {row.before:.0f} % → {row.after:.0f} %."
        for row in largest_changes(shares, systems).itertuples()
    ]


def stranger_answer(data: pd.DataFrame) -> str:
    """What a stranger costs MultiEMO, and how many utterances win half of it back: Table A8's data.

    Seen and unseen actors are different test sets, so the cost has no paired interval.
    """

    def score_of(protocol: str, system: str) -> pd.Series:
        own = data[(data["protocol"] == protocol) & (data["system"] == system)]
        return own.drop_duplicates("amount").set_index("amount")["wf1_mean"]

    seen, unseen = (score_of(protocol, BASE)[""] for protocol in ("seen", "unseen"))
    enrolled = score_of("unseen", FULL)
    scores = f"({seen:.1f} on seen actors, {unseen:.1f} on unseen ones)"
    if unseen >= seen:
        return f"**A stranger costs {BASE} nothing** {scores}."
    text = f"**A stranger costs {BASE} {seen - unseen:.1f} points** {scores}."
    enough = enrolled.index[enrolled >= unseen + (seen - unseen) / 2]
    if len(enough):
        found = f"{enrolled[enough[0]]:.1f}"
        return f"{text} Half of it is won back with {enough[0]} utterances ({FULL}: {found})."
    return f"{text} No amount of enrolment wins half of it back ({FULL}: {enrolled.max():.1f})."


def session_answer(curve: pd.DataFrame, enrolled: Mapping[Amount, Counts]) -> list[str]:
    """How the session compares with ten utterances as an enrolment.

    `curve` is the `enrolment_curve` of voices, `enrolled` the counts that it was made of.
    """
    own = curve[curve["amount"] != ""].set_index("amount")
    score, gained = own["wf1"], 100 * own["gained"]
    says = "The session is a better enrolment than ten utterances of other sessions"
    return [
        finding(says, difference(enrolled["dialogue"], enrolled[10])),
        f"Of the gain from none ({score['0']:.2f}) to all ({score['all']:.2f}), ten utterances "
        f"give {gained['10']:.0f} % and the session {gained['dialogue']:.0f} %. The curve "
        f"{course(own)} with more utterances.",
    ]


def summary(data: pd.DataFrame) -> list[str]:
    """The chapter in numbers: the data of Table A8, in four sentences."""
    rows = data.set_index(["protocol", "system", "amount", "reference"]).sort_index()

    def difference_of(protocol: str, amount: str, reference: str = BASE) -> str:
        row = rows.loc[(protocol, FULL, amount, reference)]
        return change(row["delta"], row["low"], row["high"])

    def score_of(protocol: str, system: str, amount: str = "") -> str:
        return f"{rows.xs((protocol, system, amount))['wf1_mean'].iloc[0]:.1f}"

    return [
        f"Seen actors: {FULL} {score_of('seen', FULL)}, {BASE} {score_of('seen', BASE)}, "
        f"difference {difference_of('seen', '')}.",
        f"Unseen actors: {BASE} {score_of('unseen', BASE)}. {FULL} minus {BASE} is "
        f"{difference_of('unseen', '0')} without enrolment, {difference_of('unseen', '10')} with "
        f"ten unlabelled utterances and {difference_of('unseen', 'all')} with all.",
        f"Against {BASE} on features standardised by speaker, {FULL} is "
        f"{difference_of('seen', '', STANDARDISED)} on seen and "
        f"{difference_of('unseen', 'all', STANDARDISED)} on fully enrolled unseen actors: what a "
        "learned calibration gains or loses against one line of code.",
        f"A linear probe on standardised features reaches {score_of('seen', FLAT)} on seen and "
        f"{score_of('unseen', FLAT, 'all')} on unseen actors, {FULL} {score_of('seen', FULL)} and "
        f"{score_of('unseen', FULL, 'all')}. The probe reads no context, and there is none here.",
    ]


def clouds_answer(places: pd.DataFrame, genders: Mapping[str, str]) -> list[str]:
    """Where calibration moves the actors of Fig. A12b: `pitch_and_level`, medians by stage."""
    middle = places.groupby(["speaker", "stage"], sort=False)[["pitch", "level"]].median()
    pitch = middle["pitch"].unstack("stage")
    gap = 12 * np.log2(pitch.max() / pitch.min())
    together = "come together" if gap["calibrated"] < gap["raw"] / 2 else "do not come together"
    lines = [
        f"**The clouds {together}**: in median pitch they are {gap['raw']:.1f} semitones apart "
        f"before calibration and {gap['calibrated']:.1f} after."
    ]
    for actor in places["speaker"].unique():
        before, after = middle.loc[(actor, "raw")], middle.loc[(actor, "calibrated")]
        lines.append(
            f"{actor} ({genders[actor]}): median pitch {before['pitch']:.0f} → "
            f"{after['pitch']:.0f} Hz, level {before['level']:.1f} → {after['level']:.1f} dB."
        )
    return lines


def inside_answer(moved: pd.DataFrame, gates: pd.DataFrame, pitch: str) -> str:
    """Whether `pitch` is among the features of Fig. A12e that move most, and how gates differ."""
    order = most_moved(moved, moved["feature"].nunique())
    rank, spread = order.index(pitch) + 1, gates.groupby("speaker")["gate"].mean()
    among = "is" if rank <= 12 else "is not"
    return (
        f"**Pitch {among} among the first twelve**: the mean pitch is number {rank} of "
        f"{len(order)}. The most moved: {', '.join(f'`{name}`' for name in order[:3])}. The mean "
        f"gates of the actors are between {spread.min():.3f} and {spread.max():.3f}."
    )


def neutral_answer(full: float, tenth: float, chance: tuple[float, float]) -> str:
    """Which rate of learning keeps features neutral: the probe's W-F1 on calibrated features."""
    lower = "The tenth" if tenth < full else "The full rate"
    return (
        f"**{lower} keeps the features more neutral.** From calibrated features the probe names "
        f"the speaker with W-F1 {full:.0f} where FiLM learns at the full rate and {tenth:.0f} "
        f"where it learns at a tenth; chance is {chance[0]:.0f} to {chance[1]:.0f}."
    )
