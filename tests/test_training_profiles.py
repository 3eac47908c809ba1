"""Named systems and profiles become complete, validated configs."""

import pytest

from mlsan.training.profiles import (
    PAPER,
    PROFILES,
    SCALES,
    SYSTEMS,
    ablation_runs,
    lambda_runs,
    main_runs,
    run_config,
    system_of,
)


def test_profile_paper_is_the_published_setting():
    for benchmark, published in PAPER.items():
        found = run_config(benchmark, "paper", "ML-SAN", 0, device="cpu")
        assert found == published
    assert PAPER["MELD"].train.batch == 128
    assert PAPER["IEMOCAP"].loss.lam == 0.2


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_is_known_by_its_parts(profile, system):
    run = run_config("MELD", profile, system, 1)
    assert system_of(run.model) == system
    assert run.seed == 1


def test_a_change_finds_its_group():
    run = run_config("MELD", "small", "ML-SAN", 0, lam=0.7, epochs=3, film_site="projected")
    assert (run.loss.lam, run.train.epochs, run.model.film_site) == (0.7, 3, "projected")


def test_roles_stand_in_where_nobody_is_named():
    assert run_config("MELD", "small", "ML-SAN", 0, named=True).model.speaker == "identity"
    assert run_config("MELD", "small", "ML-SAN", 0, named=False).model.speaker == "role"


def test_without_the_head_lambda_does_not_make_a_second_run():
    one, other = (run_config("MELD", "small", "w/o Aux", 0, lam=lam) for lam in (0.1, 0.9))
    assert one == other


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("MELD", "tiny", "ML-SAN", 0), {}, "unknown profile 'tiny'; choose one of smoke, small"),
        (("MELD", "small", "MLSAN", 0), {}, "unknown system 'MLSAN'; choose one of MultiEMO"),
        (("MELD", "small", "ML-SAN", 0), {"lambda_": 1}, "unknown setting 'lambda_'; the settings"),
        (("MELD", "small", "ML-SAN", 0), {"d": 30}, "d=30 must be a multiple of heads=4"),
        (("MELD", "small", "ML-SAN", 0), {"modalities": ("audio", "text")}, "in this order"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        run_config(*arguments, **changes)


def test_plans_cover_seeds_and_share_runs():
    seeds = SCALES["small"].seeds
    main = main_runs("MELD", "small", True)
    ablation = ablation_runs("MELD", "small", True)
    curve = lambda_runs("IEMOCAP", "small", True)
    assert len(main) == 2 * len(seeds)
    assert len(ablation) == 4 * len(seeds)
    assert len(set(main) & set(ablation)) == len(seeds)
    assert {run.loss.lam for run in curve} == {0.0, *SCALES["small"].lambdas}
    assert set(main_runs("IEMOCAP", "small", True)) & set(curve)


def test_only_profile_paper_looks_for_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert run_config("MELD", "paper", "ML-SAN", 0).train.device == "cuda"
    assert run_config("MELD", "paper", "ML-SAN", 0, device="cpu").train.device == "cpu"
    assert run_config("MELD", "small", "ML-SAN", 0).train.device == "cpu"
