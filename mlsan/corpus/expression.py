"""What the emotion of an utterance adds to its audio and visual features, as far as text tells.

The mean over a few utterances holds the emotions of these utterances besides the speaker's style.
Text says what the emotions probably are, and training utterances say what each emotion adds to a
feature. With this part subtracted, few utterances tell more of the style.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int, Shaped

from mlsan.vocabulary import Modality

if TYPE_CHECKING:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis


@dataclass(frozen=True)
class Expression:
    """Text's posterior of the emotions, and what they add to each feature."""

    posterior: "LinearDiscriminantAnalysis"
    share: Float[np.ndarray, "class"]
    """Mean posterior over the training utterances."""
    effect: dict[Modality, Float[np.ndarray, "class _"]]

    @classmethod
    def fit(
        cls,
        text: Float[np.ndarray, "utterance _"],
        features: Mapping[Modality, Float[np.ndarray, "utterance _"]],
        label: Int[np.ndarray, "utterance"],
        speaker: Shaped[np.ndarray, "utterance"],
    ) -> "Expression":
        """From training utterances: least squares of features on the posterior, within speakers."""
        # Imported only where styles are estimated: it takes a second.
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

        posterior = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(text, label)
        p = posterior.predict_proba(text)
        _, of = np.unique(speaker.astype(str), return_inverse=True)
        within = p - _means(p, of)[of]
        effect = {}
        for modality, x in features.items():
            x = np.asarray(x, float)
            effect[modality] = np.linalg.lstsq(within, x - _means(x, of)[of])[0]
        return cls(posterior, p.mean(axis=0), effect)

    def without(
        self,
        text: Float[np.ndarray, "utterance _"],
        features: Mapping[Modality, Float[np.ndarray, "utterance _"]],
    ) -> dict[Modality, Float[np.ndarray, "utterance _"]]:
        """The features without what the expected emotions add to them, which is 0 on average."""
        if not len(text):
            return dict(features)
        beyond = self.posterior.predict_proba(text) - self.share
        return {modality: x - beyond @ self.effect[modality] for modality, x in features.items()}


def _means(
    x: Float[np.ndarray, "utterance column"], of: Int[np.ndarray, "utterance"]
) -> Float[np.ndarray, "speaker column"]:
    """Each speaker's mean."""
    total = np.zeros((of.max() + 1, x.shape[1]))
    np.add.at(total, of, x)
    return total / np.bincount(of)[:, None]
