"""Simulated conversations whose speakers differ in style by a known amount.

Emotions have inertia within a speaker, spread between speakers and follow the dialogue's mood
(`conversations`). They show in a few latent channels per modality, which each speaker's style
scales and shifts; features are a mix of those channels (`expression`). `folder` keeps a corpus on
disk in the published layout, together with its true styles.
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
