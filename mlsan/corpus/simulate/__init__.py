"""Simulated conversations whose speakers differ in style by a known amount.

Emotions have inertia within a speaker and spread between speakers (`conversations`); they show
in a few latent channels a modality, which each speaker's style scales and shifts, and features
mix those (`expression`). `store` keeps corpora on disk in the published layout, with the truth.
"""

from mlsan.corpus.simulate.folder import (
    Truth,
    oracle_calibrated,
    read_simulated,
    read_truth,
    simulated_folder,
)
from mlsan.corpus.simulate.settings import Simulation, simulation

__all__ = [
    "Simulation",
    "Truth",
    "oracle_calibrated",
    "read_simulated",
    "read_truth",
    "simulated_folder",
    "simulation",
]
