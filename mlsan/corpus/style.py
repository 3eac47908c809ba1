"""How a speaker's features lie, from unlabelled utterances: empirical Bayes estimates.

A style is the mean mu and the standard deviation sigma of each feature over one speaker's
utterances. Few utterances say little of it, so both are shrunk towards the population of training
speakers, the more so the fewer the utterances and the less training speakers differ: where they
do not differ, nothing moves. FiLM starts from styles (`mlsan.model.mlsan`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import digamma, polygamma

# A speaker's sigma stays within this factor of the population's.
WIDEST = 5.0
# Variances below this share of the mean variance within a speaker count as this share.
FLOOR = 1e-4
# Speakers with fewer utterances say nothing of how much spreads differ.
LEAST = 5


@dataclass(frozen=True)
class Population:
    """What the training speakers of a corpus show of each feature.

    mu_0 is the mean of the speakers' means, b their variance between speakers, w the mean
    variance within a speaker. log_0 and v are mean and variance, between speakers, of
    log sigma². `tail` is (kurtosis - 1) / 2 within a speaker: a sample's log variance varies that
    many times as much as a Gaussian's, for which it is 1.
    """

    mu_0: Float[np.ndarray, "feature"]
    b: Float[np.ndarray, "feature"]
    w: Float[np.ndarray, "feature"]
    log_0: Float[np.ndarray, "feature"]
    v: Float[np.ndarray, "feature"]
    tail: Float[np.ndarray, "feature"]

    @property
    def sigma_0(self) -> Float[np.ndarray, "feature"]:
        """The population's standard deviation within a speaker."""
        return np.exp(self.log_0 / 2)

    @classmethod
    def fit(
        cls,
        features: Float[np.ndarray, "utterance feature"],
        speaker: Shaped[np.ndarray, "utterance"],
    ) -> "Population":
        """From training utterances and who speaks them; "" is nobody in particular.

        Raises ValueError if no speaker has two utterances.
        """
        rows = np.asarray(features, float)
        groups = [np.flatnonzero(speaker == name) for name in dict.fromkeys(speaker) if name != ""]
        n, mean, scatter = moments(rows, groups)
        if not (n > 1).any():
            raise ValueError("no speaker has two training utterances: styles cannot be estimated")
        w = scatter.sum(axis=0) / (n - 1).sum()
        constant = w <= 1e-12 * np.maximum(1, np.abs(rows).max(axis=0)) ** 2
        safe = np.where(constant, 1, w)
        mu_0, b = _pooled(mean, safe / n[:, None])
        # With few speakers b is noisy. Where it comes out small by chance, features that vary
        # together would keep a trace of the speaker: no b is below the usual share of w.
        b = np.maximum(b, safe * np.median(b / safe))
        many = n >= LEAST
        if many.sum() < 2:
            zero = np.zeros_like(w)
            return cls(mu_0, b, safe, np.log(safe), zero, zero + 1)
        tail = _tail([rows[groups[i]] for i in np.flatnonzero(many)], safe)
        df = n[many, None] - 1
        log_0, v = _pooled(
            _log_variance(scatter[many] / df, df, FLOOR * safe, tail), polygamma(1, df / 2) * tail
        )
        v = np.maximum(v, np.median(v))
        return cls(mu_0, b, safe, np.where(constant, 0, log_0), np.where(constant, 0, v), tail)

    def estimate(
        self,
        n: Int[np.ndarray, "style"],
        mean: Float[np.ndarray, "style feature"],
        scatter: Float[np.ndarray, "style feature"],
    ) -> tuple[Float[np.ndarray, "style feature"], Float[np.ndarray, "style feature"]]:
        """mu and sigma of several speakers at once.

        Of each speaker there are n utterances, their `mean` and their summed squared deviations
        `scatter`. With n = 0 the estimate is the population's mu_0 and sigma_0, whatever the
        other two say.

            mu = mu_0 + k (mean - mu_0),                   k = n b / (n b + w)
            log sigma² = log_0 + q (log s² - log_0),       q = v / (v + tail psi'((n - 1) / 2))

        s² is the sample variance, its logarithm corrected for its bias; psi' is the trigamma
        function, the variance of log s² for Gaussian features.
        """
        n = np.asarray(n, float)[:, None]
        k = n * self.b / (n * self.b + self.w)
        mu = self.mu_0 + k * np.where(n > 0, mean - self.mu_0, 0)
        df = np.maximum(n - 1, 1)
        floor = FLOOR * np.exp(self.log_0)
        away = _log_variance(np.where(n > 1, scatter, 1) / df, df, floor, self.tail) - self.log_0
        noise = polygamma(1, df / 2) * self.tail
        q = np.where(n > 1, self.v / (self.v + noise), 0)
        limit = 2 * np.log(WIDEST)
        return mu, np.exp((self.log_0 + np.clip(q * away, -limit, limit)) / 2)

    def new_voice(
        self,
        mu: Float[np.ndarray, "*speaker feature"],
        sigma: Float[np.ndarray, "*speaker feature"],
        z: Float[np.ndarray, "*speaker 2 feature"],
    ) -> Float[np.ndarray, "*speaker 2 feature"]:
        """Scale a and shift c that give speakers of these styles the voice of someone else.

        a x + c has mean mu_0 + sqrt(b) z_0 and log variance log_0 + sqrt(v) z_1: where z is
        standard normal, that is a style drawn from the population.
        """
        mean = self.mu_0 + np.sqrt(self.b) * z[..., 0, :]
        a = np.exp((self.log_0 + np.sqrt(self.v) * z[..., 1, :]) / 2) / sigma
        return np.stack([a, mean - a * mu], axis=-2)

    def style(
        self, features: Float[np.ndarray, "utterance feature"]
    ) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature"]]:
        """mu and sigma of one speaker, from any number of unlabelled utterances, none included."""
        mu, sigma = self.estimate(*moments(features, [np.arange(len(features))]))
        return mu[0], sigma[0]


def moments(
    features: Float[np.ndarray, "utterance feature"], groups: Sequence[Int[np.ndarray, "_"]]
) -> tuple[
    Int[np.ndarray, "style"], Float[np.ndarray, "style feature"], Float[np.ndarray, "style feature"]
]:
    """n, mean and summed squared deviations of groups of utterances (row numbers); may be empty."""
    n = np.array([len(group) for group in groups], dtype=int)
    mean, scatter = np.zeros((2, len(groups), features.shape[1]))
    filled = n > 0
    if filled.any():
        x = features[np.concatenate(groups)].astype(float, copy=False)
        starts = np.cumsum(n[filled]) - n[filled]
        mean[filled] = np.add.reduceat(x, starts) / n[filled, None]
        x -= np.repeat(mean, n, axis=0)
        scatter[filled] = np.add.reduceat(np.square(x, out=x), starts)
    return n, mean, scatter


def _log_variance(
    variance: np.ndarray, df: np.ndarray, floor: np.ndarray, tail: np.ndarray
) -> np.ndarray:
    """log s² without its bias, which for Gaussian features is psi(df / 2) - log(df / 2)."""
    return np.log(np.maximum(variance, floor)) - tail * (digamma(df / 2) - np.log(df / 2))


def _tail(groups: list[np.ndarray], within: np.ndarray) -> np.ndarray:
    """(kurtosis - 1) / 2 of the features within a speaker, 1 for a Gaussian."""
    fourth = sum(
        ((group - group.mean(axis=0)) ** 4).sum(axis=0)
        / np.maximum(group.var(axis=0), FLOOR * within) ** 2
        for group in groups
    )
    kurtosis = fourth / sum(map(len, groups))
    return np.clip((kurtosis - 1) / 2, 0.5, 20)


def _pooled(
    estimate: Float[np.ndarray, "speaker feature"],
    sampling: Float[np.ndarray, "speaker feature"],
    rounds: int = 3,
) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature"]]:
    """Mean and variance between speakers of what `estimate` shows with variance `sampling`.

    The method of moments of random-effects meta-analysis (DerSimonian and Laird, 1986), its
    weights 1 / (variance + sampling) iterated; the variance is never below 0.
    """
    variance = sampling.mean(axis=0)
    for _ in range(rounds):
        weight = 1 / (variance + sampling)
        total = weight.sum(axis=0)
        mean = (weight * estimate).sum(axis=0) / total
        spread = (weight * (estimate - mean) ** 2).sum(axis=0)
        noise = (weight * sampling * (1 - weight / total)).sum(axis=0)
        scale = total - (weight**2).sum(axis=0) / total
        variance = np.maximum((spread - noise) / np.where(scale > 0, scale, 1), 0)
    weight = 1 / (variance + sampling)
    return (weight * estimate).sum(axis=0) / weight.sum(axis=0), variance
