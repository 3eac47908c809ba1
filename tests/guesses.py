"""Counts of runs that guess, for the tests of comparisons."""

from collections.abc import Sequence

import numpy as np

from mlsan.evaluation import Counts


def guessed(
    label: np.ndarray, classes: int, right: float, seeds: Sequence[int], salt: int, asked: int
) -> Counts:
    """Runs that hit the labels [dialogue, turn] with probability `right` and else guess."""
    tables = np.zeros((len(seeds), len(label), classes, classes), dtype=int)
    for table, seed in zip(tables, seeds, strict=True):
        chance = np.random.default_rng([seed, salt])
        guess = chance.integers(0, classes, label.shape)
        found = np.where(chance.random(label.shape) < right, label, guess)
        np.add.at(table, (np.indices(label.shape)[0], label, found), 1)
    return Counts(tuple(seeds), tuple(f"d{i}" for i in range(len(label))), tables, asked)
