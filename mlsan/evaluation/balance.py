"""Does the gate of Eq. 3 find how much a simulated speaker shows in voice and in face?

In the simulation, some speakers show more in the voice and less in the face, others the reverse
(`mlsan.corpus.simulate.expression.style`). A gate that weights modalities by speaker could follow.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from torch import nn

from mlsan.corpus import Corpus
from mlsan.corpus.simulate import Truth
from mlsan.corpus.simulate.expression import STYLED
from mlsan.evaluation.expressiveness import mean_gates
from mlsan.evaluation.resampling import mean_over_seeds
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Benchmark


def true_balance(truth: Truth) -> pd.Series:
    """By speaker: mean over channels of the voice's log gain minus the face's; 0 is balanced."""
    gain = {side: np.log(truth.expression[side].gain).mean(axis=1) for side in STYLED}
    return pd.Series(gain["audio"] - gain["visual"], index=list(truth.name), name="balance")


def speaker_gates(run: RunSettings, corpus: Corpus, model: nn.Module) -> pd.DataFrame:
    """The gate's mean over channels (0..1) for each speaker of training: speaker, audio, visual.

    The unknown speaker, whom all rare ones share, is left out.
    """
    return mean_gates(run, corpus, model)[list(STYLED)].reset_index()


def gates_and_truth(gates: pd.DataFrame, balance: Mapping[Benchmark, pd.Series]) -> pd.DataFrame:
    """Each speaker's gates beside the true balance.

    `gates` are `speaker_gates` of each run with benchmark, system and seed added, `balance` is
    `true_balance` by benchmark. Returns one row per benchmark, system and speaker: balance, audio
    and visual (means over seeds), and the same for all speakers of a system: seeds, and the mean
    over seeds of Spearman's correlation of audio − visual with the balance, rho, with its interval
    over seeds rho_low and rho_high.
    """
    parts = []
    for (benchmark, system), part in gates.groupby(["benchmark", "system"], sort=False):
        part = part.assign(balance=part["speaker"].map(balance[benchmark]))
        found = [
            spearmanr(own["audio"] - own["visual"], own["balance"]).statistic
            for _, own in part.groupby("seed")
        ]
        rho = mean_over_seeds(np.array(found))
        means = part.groupby("speaker", sort=False)[["balance", *STYLED]].mean().reset_index()
        names = {"benchmark": benchmark, "system": system}
        parts.append(means.assign(**names, **rho.columns("rho"), seeds=rho.seeds))
    table = pd.concat(parts, ignore_index=True)
    return table[["benchmark", "system", *table.columns.drop(["benchmark", "system"])]]
