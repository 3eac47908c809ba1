import numpy as np
import pytest

from mlsan.corpus.style import WIDEST, Population, moments

FEATURES = 400
B, W, V = 0.5, 1.0, 0.2


def speakers(count, utterances, seed=0, b=B, v=V):
    """Gaussian features of speakers whose means and log variances differ by b and v."""
    draw = np.random.default_rng(seed)
    mu = np.sqrt(b) * draw.standard_normal((count, FEATURES))
    sigma = np.sqrt(W) * np.exp(np.sqrt(v) * draw.standard_normal((count, FEATURES)) / 2)
    rows = [
        m + s * draw.standard_normal((utterances, FEATURES)) for m, s in zip(mu, sigma, strict=True)
    ]
    return np.concatenate(rows), np.repeat([f"s{i}" for i in range(count)], utterances), mu, sigma


@pytest.fixture(scope="module")
def population():
    features, name, *_ = speakers(40, 30)
    return Population.fit(features, name)


def test_population_finds_how_much_speakers_differ(population):
    assert np.mean(population.b) == pytest.approx(B, rel=0.15)
    assert np.mean(population.w) == pytest.approx(W * np.exp(V / 2), rel=0.1)
    assert np.mean(population.v) == pytest.approx(V, rel=0.3)
    assert np.mean(population.tail) == pytest.approx(1, abs=0.1)
    assert np.abs(population.mu_0).mean() < 0.15


def test_speakers_who_do_not_differ_are_hardly_moved():
    features, name, *_ = speakers(40, 30, b=0.0, v=0.0)
    same = Population.fit(features, name)
    mu, sigma = same.style(features[:10] + 3)
    # Ten utterances that lie three deviations away would move a naive estimate by 3.
    assert np.abs(mu - same.mu_0).mean() < 0.3
    assert np.abs(np.log(sigma / same.sigma_0)).mean() < 0.05


def test_nothing_known_is_the_population(population):
    mu, sigma = population.style(np.empty((0, FEATURES)))
    np.testing.assert_array_equal(mu, population.mu_0)
    np.testing.assert_array_equal(sigma, population.sigma_0)


def test_estimates_follow_their_formula(population):
    rows = np.random.default_rng(1).normal(1, 2, (7, FEATURES))
    mu, _ = population.style(rows)
    k = 7 * population.b / (7 * population.b + population.w)
    np.testing.assert_allclose(mu, population.mu_0 + k * (rows.mean(0) - population.mu_0))


@pytest.mark.parametrize("n", [1, 3, 10, 100])
def test_shrunk_estimates_are_nearer_the_truth_than_raw_ones(population, n):
    features, name, mu, sigma = speakers(30, n, seed=5)
    groups = [np.flatnonzero(name == f"s{i}") for i in range(30)]
    found, spread = population.estimate(*moments(features, groups))
    raw = np.array([features[g].mean(0) for g in groups])
    assert np.mean((found - mu) ** 2) < 1.001 * np.mean((raw - mu) ** 2)
    if n > 1:
        naive = np.array([np.log(features[g].std(0, ddof=1)) for g in groups])
        assert np.mean((np.log(spread) - np.log(sigma)) ** 2) < np.mean(
            (naive - np.log(sigma)) ** 2
        )


def test_more_utterances_are_never_worse_on_average(population):
    errors = []
    for n in (0, 1, 3, 10, 30, 100):
        features, name, mu, _ = speakers(30, max(n, 1), seed=6)
        groups = [np.flatnonzero(name == f"s{i}")[:n] for i in range(30)]
        errors.append(np.mean((population.estimate(*moments(features, groups))[0] - mu) ** 2))
    assert errors == sorted(errors, reverse=True)


def test_new_voices_are_those_of_the_population(population):
    draw = np.random.default_rng(0)
    mu, sigma = np.linspace(-1, 1, FEATURES), np.linspace(0.5, 2, FEATURES)
    z = draw.standard_normal((400, 2, FEATURES))
    voices = population.new_voice(*np.broadcast_arrays(mu, sigma, z[:, 0])[:2], z)
    mean = voices[:, 0] * mu + voices[:, 1]
    log_variance = 2 * np.log(voices[:, 0] * sigma)
    np.testing.assert_allclose(mean.mean(axis=0), population.mu_0, atol=0.25)
    np.testing.assert_allclose(log_variance.mean(axis=0), population.log_0, atol=0.2)
    assert mean.var(axis=0).mean() == pytest.approx(population.b.mean(), rel=0.05)
    assert log_variance.var(axis=0).mean() == pytest.approx(population.v.mean(), rel=0.05)


def test_a_constant_feature_stays_as_it_is():
    features, name, *_ = speakers(8, 12)
    features[:, 0] = 4.0
    population = Population.fit(features, name)
    mu, sigma = population.style(features[:12])
    assert (mu[0], sigma[0]) == (pytest.approx(4.0), pytest.approx(1.0))
    assert np.isfinite(mu).all()
    assert np.isfinite(sigma).all()


def test_a_speaker_without_variance_is_not_blown_up(population):
    _, sigma = population.style(np.ones((50, FEATURES)))
    assert (sigma >= population.sigma_0 / WIDEST * 0.999).all()


def test_moments_agree_with_numpy_and_allow_empty_groups():
    x = np.random.default_rng(0).normal(5, 2, (20, 3))
    groups = [np.array([], dtype=int), np.array([3]), np.array([1, 5, 9]), np.array([], dtype=int)]
    n, mean, scatter = moments(x, groups)
    assert n.tolist() == [0, 1, 3, 0]
    np.testing.assert_allclose(mean[2], x[[1, 5, 9]].mean(0))
    np.testing.assert_allclose(scatter[2], 3 * x[[1, 5, 9]].var(0))
    assert not mean[[0, 3]].any()
    assert not scatter[[0, 1, 3]].any()


def test_a_population_needs_somebody_with_two_utterances():
    with pytest.raises(ValueError, match="no speaker has two training utterances"):
        Population.fit(np.zeros((3, 2)), np.array(["a", "b", ""]))
