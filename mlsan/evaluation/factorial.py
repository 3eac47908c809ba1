"""All on/off cells of ML-SAN's three parts: what each adds, alone and together."""

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
import pandas as pd

from mlsan.evaluation.counts import Counts
from mlsan.evaluation.resampling import RESAMPLES, bootstrap, draw, percentiles
from mlsan.training import CELLS

PARTS: dict[str, str] = {"film": "FiLM", "gate": "Gate", "aux": "Aux"}
SWITCHES: tuple[tuple[bool, ...], ...] = tuple(product((False, True), repeat=len(PARTS)))


def cell_name(film: bool, gate: bool, aux: bool) -> str:
    """The system that these parts make."""
    parts = {"film": film, "gate": gate, "aux": aux}
    return next(name for name, cell in CELLS.items() if cell == parts)


def contrasts(
    cells: Mapping[tuple[bool, bool, bool], Counts],
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Main effects and interactions of the 2³ design: effect, estimate, low, high, seeds.

    A main effect is the mean of the four cells with a part on, less that of the four with it off.
    An interaction of two is half of how much more one adds where the other is on, and so forth:
    the sum of all cells' weighted F1, signed by the product of the parts' ±1, over four (Box,
    Hunter and Hunter, Statistics for Experimenters, ch. 5). Intervals are of joint hierarchical
    resamples. Only seeds that all eight cells finished count; NaN where there are none.
    """
    found = [cells[switches] for switches in SWITCHES]
    common = [s for s in found[0].seeds if all(s in counts.seeds for counts in found)]
    if common and len({counts.dialogues for counts in found}) > 1:
        raise ValueError("the cells were tested on different dialogues")
    means = np.full(len(found), np.nan)
    resampled = np.full((resamples, len(found)), np.nan)
    if common:
        draws = draw(len(common), len(found[0].dialogues), generator, resamples)
        for place, counts in enumerate(found):
            chosen = [counts.seeds.index(seed) for seed in common]
            means[place] = counts.scores()[chosen].mean()
            resampled[:, place] = bootstrap(counts.table[chosen], draws)
    rows = []
    for effect, weights in coefficients().items():
        low, high = percentiles(resampled @ weights)
        row = {"effect": effect, "estimate": float(means @ weights)}
        rows.append(row | {"low": float(low), "high": float(high), "seeds": len(common)})
    return pd.DataFrame(rows)


def coefficients() -> dict[str, np.ndarray]:
    """Each effect's weights of the cells, in the order of `SWITCHES`."""
    sign = np.where(SWITCHES, 1, -1)
    names = list(PARTS.values())
    return {
        " × ".join(names[part] for part in parts): sign[:, list(parts)].prod(axis=1) / 4
        for size in (1, 2, 3)
        for parts in combinations(range(len(names)), size)
    }
