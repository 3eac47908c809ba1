"""The claims of the ML-SAN paper, and the evidence for or against each.

A claim says between which values a measured number must lie. Its verdict follows from the number's
interval by `mlsan.evaluation.claims.verdict`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mlsan.evaluation import Counts, Estimate, difference, mean_score
from mlsan.evaluation.claims import NOTHING, Verdict, exactly, implied_t, sd_interval, verdict
from mlsan.evaluation.expressiveness import confusions, mean_slope
from mlsan.evaluation.significance import paired, paired_t, t_needed
from mlsan.report import paper
from mlsan.report.declaration import Artifact
from mlsan.report.nb03_mlsan import TABLE1, TABLE3, TABLE4
from mlsan.report.nb04_ablations import TABLE2, TABLE2_ALL
from mlsan.report.nb05_sensitivity import FIG6
from mlsan.report.nb06_qualitative import FIG3, FIG9
from mlsan.report.tables import BASE, ENROLLED, FULL
from mlsan.scores import class_f1, class_recall, weighted_f1
from mlsan.training import AS_PRINTED
from mlsan.vocabulary import BENCHMARKS, Benchmark

PRINTED = "the printed numbers"
TESTED = (AS_PRINTED, FULL, ENROLLED)
NEUTRAL_WITHIN = 5.0  # points of a speaker probe above chance that still count as neutral
SCORE_WITHIN = 1.0  # points between a measured and a printed score that count as the same
PER_SD = "points of utterances per standard deviation of strength"
INF = np.inf


@dataclass(frozen=True)
class Claim:
    """A claim in our words, where the paper makes it, and where our evidence is."""

    says: str
    where: str
    shown: Artifact | None = None
    """The table or figure with the evidence; None for this chapter's own test."""
    low: float = 0.0
    high: float = INF
    unit: str = "points of W-F1"


@dataclass(frozen=True)
class Evidence:
    """One measured number for one claim on one benchmark."""

    claim: str
    benchmark: Benchmark
    tested: str
    """What was tested: a system, or `PRINTED`."""
    found: Estimate
    printed: str = ""
    """What the paper prints about it."""
    against: str = ""
    """With what it was compared, where the claim leaves that open."""
    low: float | None = None
    high: float | None = None
    """The claim's ends, where they depend on the benchmark or the runs."""

    @property
    def verdict(self) -> Verdict:
        """Holds, does not hold, undecided, or cannot be tested here."""
        claim = CLAIMS[self.claim]
        low = claim.low if self.low is None else self.low
        high = claim.high if self.high is None else self.high
        return verdict(self.found, low, high)


CLAIMS: dict[str, Claim] = {
    "scores": Claim(
        f"ML-SAN scores what Table 1 prints (within {SCORE_WITHIN:g} point)",
        "Table 1",
        TABLE1,
        low=-SCORE_WITHIN,
        high=SCORE_WITHIN,
    ),
    "better": Claim("ML-SAN is better than MultiEMO", "Table 1", TABLE3),
    "best": Claim("ML-SAN is better than every other system", "Table 1, 4.3", TABLE1),
    "t": Claim(
        "the printed means and deviations allow p < .01", "4.3", TABLE3, low=t_needed(3), unit="t"
    ),
    "p": Claim("the gain has p < .01 in a paired t-test", "4.3", TABLE3, unit="t"),
    "spread": Claim(
        "runs differ by a standard deviation of at most 0.13",
        "4.3",
        TABLE1,
        high=0.13,
        unit="points",
    ),
    "film": Claim("ML-SAN is worse without FiLM", "Table 2", TABLE2, low=-INF, high=0.0),
    "gate": Claim("ML-SAN is worse without the gate", "Table 2", TABLE2, low=-INF, high=0.0),
    "aux": Claim(
        "ML-SAN is worse without the auxiliary loss", "Table 2", TABLE2, low=-INF, high=0.0
    ),
    "drops": Claim(
        "each drop of Table 2 is significant: the least implied t at p < .05",
        "4.4",
        TABLE2,
        low=t_needed(3, 0.05),
        unit="t",
    ),
    "order_film": Claim(
        "leaving out FiLM costs most", "4.4, MELD paper", TABLE2, low=-INF, high=0.0
    ),
    "order_aux": Claim(
        "leaving out the auxiliary loss costs most",
        "4.4, IEMOCAP paper",
        TABLE2,
        low=-INF,
        high=0.0,
    ),
    "misalignment": Claim(
        "features are misaligned: FiLM alone helps MultiEMO", "1, feature misalignment", TABLE2_ALL
    ),
    "fusion": Claim(
        "fusion is ineffective: a speaker gate alone helps MultiEMO",
        "1, ineffective fusion",
        TABLE2_ALL,
    ),
    "lambda": Claim(
        "λ matters little: best minus worst λ is less than the paper's gain over MultiEMO",
        "4.5",
        FIG6,
        low=-INF,
    ),
    "peak": Claim("the paper's λ is the best", "4.5", FIG6),
    "fear": Claim("recall of fear rises", "4.7, Fig. 4", TABLE4, unit="points of recall"),
    "anger": Claim("recall of anger rises", "4.7, Fig. 4", TABLE4, unit="points of recall"),
    "tail": Claim("F1 of the two rarest emotions rises", "abstract", TABLE4, unit="points of F1"),
    "neutral": Claim(
        "calibrated features do not tell the speaker "
        f"(probe at most {NEUTRAL_WITHIN:g} above chance)",
        "abstract, 3.1",
        FIG9,
        low=-INF,
        high=NEUTRAL_WITHIN,
        unit="points above chance",
    ),
    "disentangled": Claim(
        f"z does not tell the speaker (probe at most {NEUTRAL_WITHIN:g} above chance)",
        "4.7, Fig. 5",
        FIG9,
        low=-INF,
        high=NEUTRAL_WITHIN,
        unit="points above chance",
    ),
    "kept": Claim(
        f"z still tells the speaker (probe more than {NEUTRAL_WITHIN:g} above chance)",
        "3.3",
        FIG9,
        low=NEUTRAL_WITHIN,
        unit="points above chance",
    ),
    "swing": Claim(
        "for some speaker, the weights of voice and face differ as much as in Fig. 3",
        "4.6, Fig. 3",
        FIG3,
        low=abs(paper.FIG3_WEIGHTS["audio"] - paper.FIG3_WEIGHTS["visual"]),
        unit="largest difference of mean gates",
    ),
    "dynamic": Claim(
        "the weights change from one utterance to the next", "4.3, 4.6", FIG3, unit="spread"
    ),
    "balance": Claim(
        "the gate opens for the modality in which a speaker shows more",
        "1, 3.2",
        unit="correlation over speakers",
    ),
    "introverts": Claim(
        "the less a speaker shows, the more of their emotions are taken for neutral",
        "1, Fig. 1",
        low=-INF,
        high=0.0,
        unit=PER_SD,
    ),
    "extroverts": Claim(
        "the more a speaker shows, the more of their neutral utterances are taken for emotional",
        "1, Fig. 1",
        unit=PER_SD,
    ),
    "levelled": Claim(
        "introverts' emotions are missed less by ML-SAN: the slope is flatter than MultiEMO's",
        "1, Fig. 1",
        unit=PER_SD,
    ),
}


def gain_in_paper(benchmark: Benchmark) -> float:
    """ML-SAN minus the paper's MultiEMO in its Table 1; NaN for another benchmark."""
    if benchmark not in BENCHMARKS:
        return np.nan
    return paper.TABLE1[FULL][benchmark].mean - paper.TABLE1[BASE][benchmark].mean


def printed_t(benchmark: Benchmark) -> Estimate:
    """The t of ML-SAN against MultiEMO that the paper's Table 1 implies for its benchmark."""
    sds = tuple(paper.TABLE1[system][benchmark].sd for system in (FULL, BASE))
    return implied_t(gain_in_paper(benchmark), sds, paper.RUNS)


def table1_evidence(
    benchmark: Benchmark, systems: Mapping[str, Counts], same_features: bool
) -> list[Evidence]:
    """Table 1: scores, comparisons, significance and spread.

    `systems` are the counts of its rows, with or without `ENROLLED`; `same_features` says whether
    these are the published features, without which the printed scores cannot be tested.
    """
    found = []
    printed = benchmark in BENCHMARKS
    table1 = {name: row[benchmark] for name, row in paper.TABLE1.items()} if printed else {}
    others = {
        name: counts
        for name, counts in systems.items()
        if name not in TESTED and len(counts.seeds) and counts.table.any()
    }
    gain = f"{gain_in_paper(benchmark):+.2f}" if printed else ""
    if printed:
        score = table1[FULL]
        print_text = f"{score.mean:.2f} ± {score.sd:.2f}"
        ours = mean_score(systems[FULL]) if same_features and FULL in systems else NOTHING
        moved = (ours.value - score.mean, ours.low - score.mean, ours.high - score.mean)
        found.append(Evidence("scores", benchmark, FULL, Estimate(*moved, ours.seeds), print_text))
    for name in TESTED:
        if name not in systems:
            continue
        base = systems.get(BASE)
        delta = difference(systems[name], base) if base else NOTHING
        found.append(Evidence("better", benchmark, name, delta, gain))
    for name in TESTED:
        if name not in systems or not others:
            continue
        best = max(others, key=lambda other: others[other].scores().mean())
        second = max(x.mean for other, x in table1.items() if other != FULL) if printed else np.nan
        text = f"{table1[FULL].mean - second:+.2f}" if printed else ""
        delta = difference(systems[name], others[best])
        found.append(Evidence("best", benchmark, name, delta, text, f"against {best}"))
    if printed:
        text = f"p < .01, so t > {t_needed(paper.RUNS):.2f}"
        found.append(Evidence("t", benchmark, PRINTED, printed_t(benchmark), text))
    for name in (AS_PRINTED, FULL):
        if name not in systems or BASE not in systems:
            continue
        t, needed, seeds = _t(systems[name], systems[BASE])
        found.append(
            Evidence(
                "p",
                benchmark,
                name,
                exactly(t, seeds),
                "p < .01",
                against=f"p < .01 needs {needed:.2f}",
                low=needed,
            )
        )
    for name in (BASE, FULL):
        if name in systems:
            text = f"{table1[name].sd:.2f}" if printed else ""
            spread = sd_interval(systems[name].scores())
            found.append(Evidence("spread", benchmark, name, spread, text))
    return found


def _t(system: Counts, reference: Counts) -> tuple[float, float, int]:
    pair = paired(system, reference)
    seeds = len(pair[0])
    return paired_t(*(weighted_f1(tally.sum(axis=1)) for tally in pair))[0], t_needed(seeds), seeds


_PARTS = {"film": "w/o FiLM", "gate": "w/o Gate", "aux": "w/o Aux"}
_COSTS_MOST = {"MELD": "film", "IEMOCAP": "aux"}


def ablation_evidence(benchmark: Benchmark, systems: Mapping[str, Counts]) -> list[Evidence]:
    """Table 2: what each part adds, and which adds most. `systems` are all eight cells."""
    found = []
    printed = benchmark in BENCHMARKS
    for claim, name in _PARTS.items():
        delta = difference(systems[name], systems[FULL])
        text = f"{paper.TABLE2_DELTA[name][benchmark]:+.2f}" if printed else ""
        found.append(Evidence(claim, benchmark, ENROLLED, delta, text))
    if printed:
        full = paper.TABLE2[FULL][benchmark]
        t = {
            name: implied_t(
                full.mean - paper.TABLE2[name][benchmark].mean,
                (full.sd, paper.TABLE2[name][benchmark].sd),
                paper.RUNS,
            )
            for name in _PARTS.values()
        }
        least = min(t, key=lambda name: t[name].low)
        found.append(Evidence("drops", benchmark, PRINTED, t[least], "significant", least))
        part = _COSTS_MOST[benchmark]
        means = {name: systems[name].mean_and_sd()["wf1_mean"] for name in _PARTS.values()}
        rest = {name: mean for name, mean in means.items() if name != _PARTS[part]}
        lowest = min(rest, key=rest.__getitem__)
        delta = difference(systems[_PARTS[part]], systems[lowest])
        text = f"{paper.TABLE2_DELTA[_PARTS[part]][benchmark]:+.2f}"
        against = f"against {lowest}"
        found.append(Evidence(f"order_{part}", benchmark, ENROLLED, delta, text, against))
    for claim, name in (("misalignment", "only FiLM"), ("fusion", "only Gate")):
        delta = difference(systems[name], systems[BASE])
        found.append(Evidence(claim, benchmark, f"{name}, strangers enrolled", delta))
    return found


def lambda_evidence(benchmark: Benchmark, lams: Mapping[float, Counts]) -> list[Evidence]:
    """Section 4.5: how much lambda matters. `lams` are runs `gathered` by lam, without lambda 0."""
    finished = {lam: counts for lam, counts in lams.items() if lam > 0 and counts.seeds}
    if benchmark not in BENCHMARKS or len(finished) < 2:
        return []
    means = {lam: counts.mean_and_sd()["wf1_mean"] for lam, counts in finished.items()}
    best, worst = (choose(means, key=means.__getitem__) for choose in (max, min))
    spread = difference(lams[best], lams[worst])
    gain = gain_in_paper(benchmark)
    against = f"λ = {best:g} and {worst:g}; {gain:.2f} counts as little"
    found = [Evidence("lambda", benchmark, ENROLLED, spread, "minor", against, high=gain)]
    optimum = paper.LAMBDA_OPTIMUM[benchmark]
    rest = {lam: mean for lam, mean in means.items() if lam != optimum}
    if optimum in means and rest:
        other = max(rest, key=rest.__getitem__)
        delta = difference(lams[optimum], lams[other])
        text = f"{optimum:g} is best"
        found.append(Evidence("peak", benchmark, ENROLLED, delta, text, f"against λ = {other:g}"))
    return found


def emotion_evidence(
    benchmark: Benchmark, systems: Mapping[str, Counts], emotions: Sequence[str]
) -> list[Evidence]:
    """Fig. 4 and the abstract: rare emotions, by ML-SAN as printed and ours against MultiEMO."""
    found = []
    for name in (AS_PRINTED, FULL):
        if name not in systems or BASE not in systems:
            continue
        pair = systems[name], systems[BASE]
        if benchmark == "MELD":
            for emotion, (before, after) in paper.FIG4_RECOGNISED.items():
                score = _of(class_recall, [list(emotions).index(emotion)])
                text = f"{before} % to {after} %"
                found.append(Evidence(emotion, benchmark, name, difference(*pair, score), text))
        support = pair[1].support
        rare = [int(k) for k in np.argsort(support, kind="stable") if support[k]][:2]
        against = " and ".join(emotions[k] for k in rare)
        delta = difference(*pair, _of(class_f1, rare)) if rare else NOTHING
        found.append(Evidence("tail", benchmark, name, delta, "rises", against))
    return found


def _of(score: Callable, classes: Sequence[int]) -> Callable[[np.ndarray], np.ndarray]:
    """The mean of a score by class over some classes."""
    return lambda counts: score(counts)[..., list(classes)].mean(axis=-1)


def probe_evidence(
    benchmark: Benchmark, tested: str, above: Mapping[str, Estimate]
) -> list[Evidence]:
    """What a speaker probe reads, in points above chance, at the stages calibrated and z."""
    calibrated, z = above["calibrated"], above["z"]
    return [
        Evidence("neutral", benchmark, tested, calibrated, "unrelated to the speaker"),
        Evidence("disentangled", benchmark, tested, z, "disentangled"),
        Evidence("kept", benchmark, tested, z, "retains the speaker"),
    ]


def gate_evidence(
    benchmark: Benchmark, tested: str, largest: Estimate, correlation: Estimate, by_speaker: bool
) -> list[Evidence]:
    """The gate: its largest difference of voice and face, and its correlation with the truth.

    `by_speaker` says whether it sees the speaker alone, so that it cannot change by utterance.
    """
    weights = " against ".join(f"{weight:.2f}" for weight in paper.FIG3_WEIGHTS.values())
    spread, why = (exactly(0.0, largest.seeds), "zero by Eq. 3") if by_speaker else (NOTHING, "")
    return [
        Evidence("swing", benchmark, tested, largest, weights),
        Evidence("dynamic", benchmark, tested, spread, "dynamic", why),
        Evidence("balance", benchmark, tested, correlation),
    ]


def expression_evidence(
    benchmark: Benchmark,
    systems: Mapping[str, Mapping[int, pd.DataFrame]],
    strength: pd.Series | None,
    neutral: int | None,
) -> list[Evidence]:
    """Fig. 1: confusions with neutral by how much a speaker shows.

    `systems` has the predictions of each system's runs by seed, `strength` is that of
    `true_gains`. Nothing can be tested where the true styles are unknown, where no emotion is
    `neutral`, or, for a narrower gap, where MultiEMO has no gap by its interval.
    """
    if strength is None or neutral is None or BASE not in systems:
        claims = ("introverts", "extroverts", "levelled")
        return [Evidence(claim, benchmark, BASE, NOTHING) for claim in claims]
    found = []
    missed = {name: confusions(runs, neutral, emotional=True) for name, runs in systems.items()}
    for name, runs in systems.items():
        slopes = {
            "introverts": _slope(*missed[name], strength),
            "extroverts": _slope(*confusions(runs, neutral, emotional=False), strength),
        }
        found += [Evidence(claim, benchmark, name, slope) for claim, slope in slopes.items()]
    rates, utterances = missed[BASE]
    gap = Evidence("introverts", benchmark, BASE, _slope(rates, utterances, strength))
    for name in systems:
        if name != BASE:
            narrower = _slope((missed[name][0] - rates).dropna(axis=1), utterances, strength)
            there = gap.verdict == "holds"
            shown = narrower if there else NOTHING
            against = "" if there else "MultiEMO has no clear gap"
            found.append(Evidence("levelled", benchmark, name, shown, against=against))
    return found


def _slope(rates: pd.DataFrame, utterances: pd.Series, strength: pd.Series) -> Estimate:
    """The slope of the rates by strength, in units of its standard deviation over the speakers."""
    known = strength.loc[rates.index]
    values = rates.to_numpy(dtype=float).T
    return mean_slope(values, (known / known.std(ddof=0)).to_numpy(), utterances.to_numpy())


def in_order(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The evidence in the order of the claims."""
    order = list(CLAIMS)
    return sorted(evidence, key=lambda one: order.index(one.claim))
