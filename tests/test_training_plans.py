"""Plans have the runs that their table or figure needs, and share them."""

import pytest

from mlsan.training.plans import (
    MODALITY_DROPOUT,
    PLANS,
    WITH_SPEAKER,
    ablation_runs,
    adapted_runs,
    control_runs,
    dev_runs,
    dose_runs,
    lambda_runs,
    main_runs,
    neutrality_runs,
    robustness_runs,
    standardised_runs,
)
from mlsan.training.profiles import SCALES
from mlsan.training.systems import AS_PRINTED, BASELINES, CELLS, VARIANTS, describe, system_of

SEEDS, FEW = SCALES["small"].seeds, SCALES["small"].few


def changed(run, **train):
    """The run with other settings of training, and without a test curve, which trains nothing."""
    fields = {"test_curve": False, **train}
    return run.model_copy(update={"train": run.train.model_copy(update=fields)})


def test_plans_cover_seeds_and_share_runs():
    main = main_runs("MELD", "small", True)
    ablation = ablation_runs("MELD", "small", True)
    assert len(SEEDS) == 5
    assert len(main) == (len(BASELINES) + len(VARIANTS) + 3) * len(SEEDS)
    assert all(run.train.test_curve for run in main)
    assert {AS_PRINTED, "ML-SAN", "MultiEMO"} < {system_of(run.model) for run in main}
    assert {system_of(run.model) for run in ablation} == {"MultiEMO", *CELLS}
    assert len(ablation) == 8 * len(FEW)
    assert len(set(main) & set(ablation)) == 2 * len(FEW)
    assert not any(run.train.test_curve for run in set(ablation) - set(main))
    assert set(dose_runs("MELD", "small", True)) <= set(main)
    standardised = standardised_runs("MELD", "small", True)
    assert set(standardised) == {run for run in main if system_of(run.model) == "MultiEMO"}


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
    assert len({changed(run).model_copy(update={"speaker": "role"}) for run in runs}) == 1
    assert [run.train.test_curve for run in runs] == [True, False, False, False]


def test_as_printed_differs_from_ours_in_its_start_and_lambda():
    runs = {system_of(r.model): r for r in main_runs("IEMOCAP", "small", True) if r.seed == 0}
    ours, printed = (runs[name].model.model_dump() for name in ("ML-SAN", AS_PRINTED))
    differ = {field for field, value in ours.items() if printed[field] != value}
    assert differ == {"film_start", "film_rate", "gate_start", "lam"}
    assert (printed["film_start"], printed["gate_start"], printed["lam"]) == (
        *("printed", "random", 0.2),
    )
    assert runs["ML-SAN"].train.enrolment == "random"
    assert runs[AS_PRINTED].train.enrolment == "all"


def test_the_adversary_is_the_only_change_for_neutrality():
    runs = [run for run in neutrality_runs("MELD", "small", True) if run.seed == 0]
    printed, adversary = runs[1], runs[-1]
    assert [system_of(run.model) for run in runs[:3]] == ["MultiEMO", AS_PRINTED, "ML-SAN"]
    assert (printed.model.adversary, adversary.model.adversary) == (False, True)
    off = adversary.model.model_copy(update={"adversary": False})
    assert adversary.model_copy(update={"model": off}) == changed(printed)


def test_the_dev_split_is_the_only_change_and_needs_sessions():
    runs = dev_runs("IEMOCAP", "small", True)
    assert len(runs) == 4 * len(FEW)
    assert set(runs) & set(main_runs("IEMOCAP", "small", True))
    pairs = {(system_of(r.model), r.seed, r.train.dev) for r in runs}
    assert len(pairs) == len(runs)
    for run in runs:
        assert changed(run, dev="official") in map(changed, runs)
    assert dev_runs("MELD", "small", True) == dev_runs("IEMOCAP", "small", False) == []


def test_modality_dropout_is_the_only_change_for_robustness():
    runs = robustness_runs("MELD", "small", True)
    clean = [run for run in runs if not run.train.modality_dropout]
    assert set(clean) <= set(main_runs("MELD", "small", True))
    assert len(runs) == 2 * len(clean)
    for run in set(runs) - set(clean):
        assert run.train.modality_dropout == MODALITY_DROPOUT
        assert changed(run, modality_dropout=0.0) in map(changed, clean)


def test_each_model_is_compared_with_itself_in_the_same_training():
    runs = {(system_of(r.model), r.seed): r for r in adapted_runs("IEMOCAP", "small", True)}
    assert {seed for _, seed in runs} == set(SEEDS)
    main = main_runs("IEMOCAP", "small", True)
    for model, adapted in WITH_SPEAKER.items():
        alone, ours = runs[model, 0], runs[adapted, 0]
        assert alone in main
        assert ours.loss == alone.loss
        assert (ours.train.enrolment, ours.train.unknown_rate) == ("random", 0.5)
        same = {"enrolment": "all", "unknown_rate": 0.0}
        assert changed(ours, **same).train == changed(alone).train
        assert ours.speaker == "identity"
        if model != "MultiEMO":
            assert ours.model.base == alone.model
