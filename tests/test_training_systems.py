"""Named systems and profiles become complete, validated configs."""

import pytest

from mlsan.model import MODELS
from mlsan.training.plans import (
    PLANS,
    ablation_runs,
    control_runs,
    lambda_runs,
    main_runs,
    robustness_runs,
    speaker_runs,
)
from mlsan.training.profiles import (
    BASELINES,
    CELLS,
    PAPER,
    PROFILES,
    SCALES,
    SYSTEMS,
    describe,
    run_settings,
    system_of,
)


def test_profile_paper_is_the_published_setting():
    for benchmark, published in PAPER.items():
        found = run_settings(benchmark, "paper", "ML-SAN", 0, device="cpu")
        assert found == published
    assert PAPER["MELD"].train.batch == 128
    assert PAPER["IEMOCAP"].loss.lam == 0.2


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_is_known_by_its_parts(profile, system):
    run = run_settings("MELD", profile, system, 1)
    assert system_of(run.model) == system
    assert run.seed == 1


def test_a_change_finds_its_group():
    run = run_settings("MELD", "small", "ML-SAN", 0, lam=0.7, epochs=3, film_site="projected")
    assert (run.loss.lam, run.train.epochs, run.model.film_site) == (0.7, 3, "projected")


def test_roles_stand_in_where_nobody_is_named():
    assert run_settings("MELD", "small", "ML-SAN", 0, named=True).model.speaker == "identity"
    assert run_settings("MELD", "small", "ML-SAN", 0, named=False).model.speaker == "role"


def test_without_the_head_lambda_does_not_make_a_second_run():
    one, other = (run_settings("MELD", "small", "w/o Aux", 0, lam=lam) for lam in (0.1, 0.9))
    assert one == other


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("MELD", "tiny", "ML-SAN", 0), {}, "unknown profile 'tiny'; choose one of smoke, small"),
        (("MELD", "small", "MLSAN", 0), {}, "unknown system 'MLSAN'; choose one of BC-LSTM"),
        (("MELD", "small", "ML-SAN", 0), {"lambda_": 1}, "unknown setting 'lambda_'; the settings"),
        (("MELD", "small", "ML-SAN", 0), {"d": 30}, "d=30 must be a multiple of heads=4"),
        (("MELD", "small", "ML-SAN", 0), {"modalities": ("audio", "text")}, "in this order"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        run_settings(*arguments, **changes)


def test_plans_cover_seeds_and_share_runs():
    seeds, few = SCALES["small"].seeds, SCALES["small"].few
    main = main_runs("MELD", "small", True)
    ablation = ablation_runs("MELD", "small", True)
    curve = lambda_runs("IEMOCAP", "small", True)
    assert len(seeds) == 5
    assert len(main) == (len(BASELINES) + 2) * len(seeds)
    assert len(ablation) == 8 * len(few)
    assert len(set(main) & set(ablation)) == 2 * len(few)
    assert {run.loss.lam for run in curve} == {0.0, *SCALES["small"].lambdas}
    assert len(set(main_runs("IEMOCAP", "small", True)) & set(curve)) == len(few)


def test_the_cells_are_all_of_them():
    parts = {(c["film"], c["gate"], c["aux"]) for c in CELLS.values()}
    assert len(parts) == len(CELLS) == 8


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_names_its_runs_apart(plan, named):
    runs = PLANS[plan]("MELD", "small", named)
    assert len(set(map(describe, runs))) == len(set(runs)) == len(runs)
    assert named or "identity" not in {run.model.speaker for run in runs}


def test_controls_differ_in_what_the_speaker_is_told_as_and_in_nothing_else():
    runs = [run for run in control_runs("MELD", "small", True) if run.seed == 0]
    assert [run.model.speaker for run in runs] == ["identity", "role", "shuffled", "constant"]
    assert len({run.model_copy(update={"model": runs[0].model}) for run in runs}) == 1


def test_every_way_of_telling_the_speaker_is_tried():
    runs = [r.model for r in speaker_runs("IEMOCAP", "paper", True) if r.seed == 0 and r.model.film]
    told = [(m.speaker, m.infer_from, m.infer_residual) for m in runs]
    assert told == [
        ("identity", "dialogue", False),
        ("role", "dialogue", False),
        ("standardised", "dialogue", False),
        ("inferred", "dialogue", False),
        ("inferred", "past", False),
        ("inferred", "dialogue", True),
    ]


def test_modality_dropout_is_the_only_change_for_robustness():
    runs = robustness_runs("MELD", "small", True)
    clean = [run for run in runs if not run.train.modality_dropout]
    assert set(clean) <= set(main_runs("MELD", "small", True))
    assert len(runs) == 2 * len(clean)


@pytest.mark.parametrize("benchmark", ["MELD", "IEMOCAP"])
@pytest.mark.parametrize("system", BASELINES)
def test_profile_paper_runs_the_other_models_as_published(system, benchmark):
    run = run_settings(benchmark, "paper", system, 0)
    assert run.model.name in MODELS
    assert run.loss.emotion == (
        "focal" if (system, benchmark) == ("MMGCN", "MELD") else "cross-entropy"
    )
    weighted = benchmark == "IEMOCAP" and system != "BC-LSTM"
    assert len(run.loss.class_weight) == (6 if weighted else 0)
    epochs = {"DialogueRNN": {"MELD": 100}, "MMGCN": {"IEMOCAP": 20}}
    assert run.train.epochs == epochs.get(system, {}).get(benchmark, 60)


def test_only_profile_paper_looks_for_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert run_settings("MELD", "paper", "ML-SAN", 0).train.device == "cuda"
    assert run_settings("MELD", "paper", "ML-SAN", 0, device="cpu").train.device == "cpu"
    assert run_settings("MELD", "small", "ML-SAN", 0).train.device == "cpu"
