"""Notebook 8: how much of the scores the text features explain; shown, not saved."""

import numpy as np
import pandas as pd

from mlsan.evaluation import mean_sd, score_predictions
from mlsan.report.tables import TEXT_PROBE


def wf1(part: pd.DataFrame) -> float:
    """Weighted F1 in percent of some rows of `text_audit`; NaN where there are none."""
    if part.empty:
        return float("nan")
    return score_predictions(part["label"].to_numpy(), part["predicted"].to_numpy())["wf1"]


def probe_and_models(probed: dict[str, pd.DataFrame], runs: pd.DataFrame) -> pd.DataFrame:
    """By benchmark and system: test weighted F1, and its distance from the text probe.

    `probed` has the `text_audit` of each benchmark, `runs` one row per finished run; without any,
    the probe's rows stand alone.
    """
    rows = [
        {"benchmark": benchmark, "system": TEXT_PROBE, "wf1": wf1(audit), "sd": np.nan, "seeds": 1}
        for benchmark, audit in probed.items()
    ]
    if len(runs):
        found = mean_sd(runs, ["benchmark", "system"], ["test_wf1"])
        named = {"test_wf1_mean": "wf1", "test_wf1_sd": "sd", "n": "seeds"}
        rows += found.rename(columns=named).to_dict("records")
    table = pd.DataFrame(rows)[["benchmark", "system", "wf1", "sd", "seeds"]]
    floor = table[table["system"] == TEXT_PROBE].set_index("benchmark")["wf1"]
    table["above probe"] = table["wf1"] - table["benchmark"].map(floor)
    return table.sort_values("benchmark", kind="stable", ignore_index=True)


def duplicates(audit: pd.DataFrame) -> dict[str, int | float]:
    """How many test texts occur in training, and the probe's score on them and without them."""
    return {
        "test utterances": len(audit),
        "text also in training": int(audit["duplicate"].sum()),
        "with the same label there": int(audit["same_label"].sum()),
        "probe W-F1, all": wf1(audit),
        "probe W-F1, those": wf1(audit[audit["duplicate"]]),
        "probe W-F1, without those": wf1(audit[~audit["duplicate"]]),
    }


def by_exposure(audit: pd.DataFrame, seen: set[str]) -> pd.DataFrame:
    """The probe's score on test dialogues that the text features may have seen, and on others."""
    known = audit["dialogue"].isin(seen).to_numpy()
    rows = {"in the list": audit[known], "not in the list": audit[~known]}
    return pd.DataFrame(
        {
            name: {
                "dialogues": part["dialogue"].nunique(),
                "utterances": len(part),
                "probe W-F1": wf1(part),
            }
            for name, part in rows.items()
        }
    ).T
