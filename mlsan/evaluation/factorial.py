"""All on/off cells of ML-SAN's three parts: what each adds, alone and together."""

from collections.abc import Mapping
from itertools import combinations, product

import numpy as np
import pandas as pd

from mlsan.evaluation.counts import Counts
from mlsan.evaluation.significance import contrast
from mlsan.training import CELLS

PARTS: dict[str, str] = {"film": "FiLM", "gate": "Gate", "aux": "Aux"}
SWITCHES: tuple[tuple[bool, ...], ...] = tuple(product((False, True), repeat=len(PARTS)))


def cell_name(film: bool, gate: bool, aux: bool) -> str:
    """The system with these parts; without any it is MultiEMO."""
    parts = {"film": film, "gate": gate, "aux": aux}
    return next((name for name, cell in CELLS.items() if cell == parts), "MultiEMO")


def effects(cells: Mapping[tuple[bool, bool, bool], Counts]) -> pd.DataFrame:
    """Main effects and interactions of the 2³ design: effect, delta, low, high, seeds.

    A main effect is the mean of the four cells with a part, minus that of the four without it. An
    interaction of two parts is half of how much more one adds where the other is on, and so on:
    the sum of all cells' weighted F1, signed by the product of the parts' ±1, over four (Box,
    Hunter and Hunter, Statistics for Experimenters, ch. 5). Only seeds that all eight cells
    finished count; NaN where there are none.
    """
    weights = coefficients()
    found = contrast([cells[on] for on in SWITCHES], np.array(list(weights.values())))
    return pd.DataFrame(
        {
            "effect": list(weights),
            "delta": found.value,
            "low": found.low,
            "high": found.high,
            "seeds": found.seeds,
        }
    )


def coefficients() -> dict[str, np.ndarray]:
    """Each effect's weights of the cells, in the order of `SWITCHES`."""
    sign = np.where(SWITCHES, 1, -1)
    names = list(PARTS.values())
    return {
        " × ".join(names[part] for part in parts): sign[:, list(parts)].prod(axis=1) / 4
        for size in (1, 2, 3)
        for parts in combinations(range(len(names)), size)
    }
