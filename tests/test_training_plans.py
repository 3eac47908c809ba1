"""Plans have the runs that their table or figure needs, and share them."""

import pytest

from mlsan.training.plans import (
    MODALITY_DROPOUT,
    PLANS,
    ablation_runs,
    control_runs,
    dose_runs,
    lambda_runs,
    main_runs,
    neutrality_runs,
    robustness_runs,
    speaker_runs,
)
from mlsan.training.profiles import SCALES
from mlsan.training.systems import BASELINES, CELLS, describe, system_of

SEEDS, FEW = SCALES["small"].seeds, SCALES["small"].few


def test_plans_cover_seeds_and_share_runs():
    main = main_runs("MELD", "small", True)
    ablation = ablation_runs("MELD", "small", True)
    assert len(SEEDS) == 5
    assert len(main) == (len(BASELINES) + 2) * len(SEEDS)
    assert {system_of(run.model) for run in ablation} == {"MultiEMO", *CELLS}
    assert len(ablation) == 8 * len(FEW)
    assert len(set(main) & set(ablation)) == 2 * len(FEW)
    assert set(dose_runs("MELD", "small", True)) <= set(main)


def test_the_curve_over_lambda_starts_without_the_loss():
    curve = lambda_runs("IEMOCAP", "small", True)
    assert {run.model.lam if run.model.aux else 0 for run in curve} == {0, *SCALES["small"].lambdas}
    assert len(set(main_runs("IEMOCAP", "small", True)) & set(curve)) == len(FEW)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("plan", PLANS)
def test_the_names_of_a_plans_runs_differ(plan, named):
    runs = PLANS[plan]("MELD", "small", named)
    assert len(set(map(describe, runs))) == len(set(runs)) == len(runs)
    assert named or "identity" not in {run.speaker for run in runs}


def test_controls_differ_in_the_speaker_and_in_nothing_else():
    runs = [run for run in control_runs("MELD", "small", True) if run.seed == 0]
    assert [run.speaker for run in runs] == ["identity", "role", "shuffled", "constant"]
    assert len({run.model_copy(update={"speaker": "role"}) for run in runs}) == 1


@pytest.mark.parametrize(("named", "kinds"), [(True, ["identity", "role"]), (False, ["role"])])
def test_speakers_are_identities_and_roles(named, kinds):
    runs = [run for run in speaker_runs("IEMOCAP", "paper", named) if run.seed == 0]
    assert [system_of(run.model) for run in runs] == ["MultiEMO"] + ["ML-SAN"] * len(kinds)
    assert [run.speaker for run in runs[1:]] == kinds


def test_the_adversary_is_the_only_change_for_neutrality():
    runs = [run for run in neutrality_runs("MELD", "small", True) if run.seed == 0]
    plain, adversary = runs[1], runs[-1]
    assert (plain.model.adversary, adversary.model.adversary) == (False, True)
    off = adversary.model.model_copy(update={"adversary": False})
    assert adversary.model_copy(update={"model": off}) == plain


def test_modality_dropout_is_the_only_change_for_robustness():
    runs = robustness_runs("MELD", "small", True)
    clean = [run for run in runs if not run.train.modality_dropout]
    assert set(clean) <= set(main_runs("MELD", "small", True))
    assert len(runs) == 2 * len(clean)
    for run in set(runs) - set(clean):
        train = run.train.model_copy(update={"modality_dropout": 0.0})
        assert run.train.modality_dropout == MODALITY_DROPOUT
        assert run.model_copy(update={"train": train}) in clean
