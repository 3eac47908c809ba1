"""Systems by name, and profiles, become complete, validated settings."""

import pytest

from mlsan.corpus.nemo.protocols import PROTOCOLS
from mlsan.model import MODELS
from mlsan.training.systems import (
    ADAPTED,
    AS_PRINTED,
    BASELINES,
    CELLS,
    ENROLLING,
    MULTIEMO,
    SYSTEMS,
    VARIANTS,
    run_settings,
    system_of,
)
from mlsan.vocabulary import PROFILES


@pytest.mark.parametrize("benchmark", MULTIEMO)
@pytest.mark.parametrize("system", ["MultiEMO", "ML-SAN"])
def test_profile_paper_is_the_published_setting(system, benchmark):
    run = run_settings(benchmark, "paper", system, 0, device="cpu")
    for field, value in MULTIEMO[benchmark].items():
        groups = [group for group in (run.model, run.loss, run.train) if hasattr(group, field)]
        assert [getattr(group, field) for group in groups] == [value]
    assert (run.train.lr, run.train.weight_decay, run.model.d) == (1e-4, 1e-5, 256)


def test_lambda_and_batch_are_those_of_the_paper():
    runs = [run_settings(benchmark, "paper", AS_PRINTED, 0) for benchmark in ("MELD", "IEMOCAP")]
    assert [run.model.lam for run in runs] == [0.5, 0.2]
    assert [run.train.batch for run in runs] == [128, 64]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_is_known_by_its_parts(profile, system):
    run = run_settings("MELD", profile, system, 1)
    assert system_of(run.model) == system
    assert run.seed == 1


def test_a_change_finds_its_group():
    run = run_settings("MELD", "small", "ML-SAN", 0, lam=0.7, epochs=3, tau=2, speaker="constant")
    assert (run.model.lam, run.train.epochs, run.loss.tau) == (0.7, 3, 2)
    assert run.speaker == "constant"


def test_roles_stand_in_for_missing_names():
    assert run_settings("MELD", "small", "ML-SAN", 0, named=True).speaker == "identity"
    assert run_settings("MELD", "small", "ML-SAN", 0, named=False).speaker == "role"


def test_a_model_has_only_the_settings_that_it_reads():
    assert "lam" not in run_settings("MELD", "small", "MultiEMO", 0).model.model_dump()
    assert "heads" not in run_settings("MELD", "small", "MMGCN", 0).model.model_dump()
    assert "tau" not in run_settings("MELD", "small", "MMGCN", 0).loss.model_dump()


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (("MELD", "tiny", "ML-SAN", 0), {}, "unknown profile 'tiny'; choose one of smoke, small"),
        (("MELD", "small", "MLSAN", 0), {}, "unknown system 'MLSAN'; choose one of BC-LSTM"),
        (("MELD", "small", "ML-SAN", 0), {"lambda_": 1}, "unknown setting 'lambda_'; the settings"),
        (("MELD", "small", "MultiEMO", 0), {"lam": 1}, "unknown setting 'lam'; the settings of"),
        (("MELD", "small", "ML-SAN", 0), {"d": 30}, "d=30 must be a multiple of heads=4"),
        (("MELD", "small", "ML-SAN", 0), {"modalities": ("audio", "text")}, "in this order"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        run_settings(*arguments, **changes)


def test_the_cells_are_all_of_them():
    parts = {(c["film"], c["gate"], c["aux"]) for c in CELLS.values()} | {(False,) * 3}
    assert len(parts) == len(CELLS) + 1 == 8


@pytest.mark.parametrize("benchmark", ["MELD", "IEMOCAP"])
@pytest.mark.parametrize("system", BASELINES)
def test_profile_paper_runs_the_baselines_as_published(system, benchmark):
    run = run_settings(benchmark, "paper", system, 0)
    assert run.model.name in MODELS
    assert run.loss.emotion == (
        "focal" if (system, benchmark) == ("MMGCN", "MELD") else "cross-entropy"
    )
    weighted = benchmark == "IEMOCAP" and system not in ("BC-LSTM", "COGMEN", "M2FNet")
    weighted |= system == "Li et al."
    classes = {"MELD": 7, "IEMOCAP": 6}[benchmark]
    assert len(run.loss.class_weight) == (classes if weighted else 0)
    if system in ("SDT", "Li et al."):
        assert run.model.class_weight == run.loss.class_weight
    epochs = {
        "DialogueRNN": {"MELD": 100},
        "MMGCN": {"IEMOCAP": 20},
        "COGMEN": {"MELD": 55, "IEMOCAP": 55},
        "M2FNet": {"MELD": 100, "IEMOCAP": 100},
        "SDT": {"MELD": 50, "IEMOCAP": 150},
        "Li et al.": {"MELD": 30, "IEMOCAP": 30},
    }
    assert run.train.epochs == epochs.get(system, {}).get(benchmark, 60)


@pytest.mark.parametrize("system", [*BASELINES, "MultiEMO", AS_PRINTED, "ML-SAN"])
@pytest.mark.parametrize("profile", ["smoke", "small", "paper"])
def test_another_corpus_has_the_settings_of_iemocap_without_its_weights(profile, system):
    usual = run_settings("IEMOCAP", profile, system, 0)
    run = run_settings("lessons", profile, system, 0)
    assert run.benchmark == "lessons"
    assert run.train == usual.train
    for given, same in ((run.model, usual.model), (run.loss, usual.loss)):
        unweighted = {"class_weight": ()} if hasattr(same, "class_weight") else {}
        assert given == same.model_copy(update=unweighted)


def test_only_profile_paper_looks_for_a_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert run_settings("MELD", "paper", "ML-SAN", 0).train.device == "cuda"
    assert run_settings("MELD", "paper", "ML-SAN", 0, device="cpu").train.device == "cpu"
    assert run_settings("MELD", "small", "ML-SAN", 0).train.device == "cpu"


def test_as_printed_has_nothing_of_ours():
    printed = run_settings("MELD", "small", AS_PRINTED, 0)
    assert (printed.model.film_start, printed.model.gate_start) == ("printed", "random")
    assert (printed.train.enrolment, printed.train.unknown_rate) == ("all", 0.1)
    ours = run_settings("MELD", "small", "ML-SAN", 0)
    assert (ours.model.film_start, ours.model.gate_start) == ("statistics", "open")
    assert (ours.train.enrolment, ours.train.unknown_rate) == ("random", 0.5)
    assert system_of(printed.model) == AS_PRINTED


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("system", [*VARIANTS, *ADAPTED])
def test_a_wrapped_model_has_the_settings_that_it_has_alone(profile, system):
    run = run_settings("IEMOCAP", profile, system, 0, device="cpu")
    alone = run_settings("IEMOCAP", profile, SYSTEMS[system]["base"], 0, device="cpu")
    assert run.model.base == alone.model
    assert run.loss == alone.loss
    same = {field: getattr(run.train, field) for field in (*ENROLLING, "test_curve")}
    assert run.train == alone.train.model_copy(update=same)


def test_a_row_of_table_1_has_a_test_curve_unless_something_changes():
    def curve(benchmark, system, **changes):
        return run_settings(benchmark, "small", system, 0, **changes).train.test_curve

    assert curve("MELD", "ML-SAN")
    assert curve("MELD", "ML-SAN", modality_dropout=0.0)  # as it is
    assert curve("IEMOCAP", "BC-LSTM")
    assert not curve("MELD", "ML-SAN", lam=0.5)
    assert curve("MELD", "ML-SAN", lam=0.5, test_curve=True)
    assert not curve("MELD", "w/o FiLM")
    assert not curve("MELD", "BC-LSTM + speaker")
    assert not curve(PROTOCOLS[0], "ML-SAN")


def test_a_change_reaches_the_model_inside():
    run = run_settings("MELD", "small", "MMGCN + speaker", 0, d=32, lam=0.1)
    assert (run.model.base.d, run.model.lam) == (32, 0.1)
    with pytest.raises(ValueError, match="unknown setting 'heads'; the settings of MMGCN"):
        run_settings("MELD", "small", "MMGCN + speaker", 0, heads=2)
