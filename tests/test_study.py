"""Settings are checked before any work is done, and say what is allowed."""

from dataclasses import replace

import numpy as np
import pytest

from mlsan.__main__ import main
from mlsan.corpus import CorpusError, open_corpora
from mlsan.corpus.catalogue import DATA
from mlsan.evaluation import gathered
from mlsan.report import read_manifest
from mlsan.report.nb02_baseline import main_table
from mlsan.study import BUILD, Study, check_parameters, open_study
from mlsan.training import SCALES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"profile": "tiny"}, "unknown PROFILE 'tiny'; choose one of smoke, small, paper"),
        ({"corpus": "meld"}, "unknown CORPUS 'meld'; choose one of sim, multiemo"),
        ({"corpus": "multiemo"}, "multiemo needs DATA"),
        ({"corpus": "multiemo", "data": "/nowhere"}, "/nowhere: there is no such folder"),
        ({"corpus": "sim", "data": "/tmp"}, "DATA"),
        ({"device": "gpu"}, "unknown DEVICE 'gpu'; choose one of cpu, cuda, cuda-bfloat16"),
        ({"jobs": "0"}, "JOBS='0' must be a positive number"),
        ({"jobs": "many"}, "JOBS='many' must be a positive number"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        open_study("01_data", **settings)


def test_a_misspelled_notebook_parameter_is_refused():
    check_parameters(["PROFILE", "CORPUS", "np", "_ih", "In", "__name__"])
    with pytest.raises(ValueError, match="unknown parameter PROFLE; choose from PROFILE, CORPUS"):
        check_parameters(["PROFLE", "PROFILE"])


def test_the_command_line_says_what_is_wrong_in_one_line(capsys):
    assert main(["paper", "--profile", "huge"]) == 2
    said = capsys.readouterr().err
    assert said == "make paper: unknown PROFILE 'huge'; choose one of smoke, small, paper\n"


def test_plans_share_runs_and_know_their_benchmarks():
    study = open_study("01_data", "smoke")
    plan = study.plan("main", "ablation", "lambda")
    assert len(plan) == len(set(plan))
    assert {run.benchmark for run in plan} == {"MELD", "IEMOCAP"}
    assert set(study.plan("main")) < set(plan)
    with pytest.raises(ValueError, match="unknown plan 'all'; choose from main, ablation"):
        study.plan("all")


def test_each_profile_has_a_folder_of_its_own(tmp_path):
    assert open_study("01_data", "smoke").figures.name == "sim-smoke"
    study = open_study("01_data", "smoke")
    assert study.executed.name == "sim-smoke"
    assert study.folder == DATA / "sim"
    elsewhere = replace(study, source=replace(study.source, data=tmp_path))
    assert elsewhere.folder == tmp_path
    assert study.simulated
    assert study.oracle("MELD").name.endswith("oracle-calibrated")


def test_all_metrics_come_from_the_same_predictions():
    study = open_study("03_mlsan", "smoke")
    run = study.config("MELD", "MultiEMO")
    scores, result = study.scores(run), study.result(run)
    assert scores["wf1"] == result.summary["test_wf1"]
    test = result.predictions.query("split == 'test'")
    assert len(test) == sum(map(len, study.corpora["MELD"].test))
    assert scores["accuracy"] == pytest.approx(100 * (test["label"] == test["predicted"]).mean())
    (counts,) = gathered(study.sweep([run]), study.predictions, study.emotions)["MELD"].values()
    assert counts.scores()[0] == scores["wf1"]


def test_a_saved_table_names_the_runs_of_its_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(Study, "figures", tmp_path)
    study = open_study("03_mlsan", "smoke")
    plan = [study.config("MELD", name, seed) for name in ("MultiEMO", "ML-SAN") for seed in (0, 1)]
    runs = study.sweep(plan)
    study.save_table(main_table(runs), "table1_main", runs)
    entry = read_manifest(tmp_path)["table1_main"]
    assert entry["rows"] == {
        "MELD / MultiEMO": [study.key(run) for run in plan[:2]],
        "MELD / ML-SAN": [study.key(run) for run in plan[2:]],
    }
    assert entry["runs"] == sorted(map(study.key, plan))
    study.save_table(main_table(runs), "table1_main", runs, by=["system", "seed"])
    assert read_manifest(tmp_path)["table1_main"]["rows"]["ML-SAN / 1"] == [study.key(plan[3])]
    study.save_table(main_table(runs), "table1_main", runs["run"])
    assert read_manifest(tmp_path)["table1_main"]["rows"] == {}


def test_doses_change_the_simulation_and_nothing_else():
    study = open_study("05_sensitivity", "smoke")
    doses = study.doses()
    assert tuple(doses) == SCALES["smoke"].doses
    assert doses[1.0].fingerprints == study.fingerprints
    for benchmark, corpus in doses[0.0].corpora.items():
        whole = study.corpora[benchmark]
        assert corpus.fingerprint != whole.fingerprint
        assert [d.speaker for d in corpus.test] == [d.speaker for d in whole.test]
        assert all((a.label == b.label).all() for a, b in zip(corpus.test, whole.test, strict=True))
    runs = doses[0.0].dose_plan()
    assert runs == study.dose_plan()
    assert {study.system(run) for run in runs} == {"MultiEMO", "ML-SAN"}
    assert not {doses[0.0].key(run) for run in runs} & {study.key(run) for run in runs}


def test_the_standardised_study_changes_features_of_everybody_and_nothing_else():
    study = open_study("03_mlsan", "smoke")
    other = study.standardised()
    for benchmark, corpus in other.corpora.items():
        own = study.corpora[benchmark]
        for one, before in zip(corpus.test, own.test, strict=True):
            assert (one.speaker, one.id) == (before.speaker, before.id)
            assert (one.feature["text"] == before.feature["text"]).all()
            assert not np.allclose(one.feature["audio"], before.feature["audio"])
    plan = study.standardised_plan()
    assert {study.system(run) for run in plan} == {"MultiEMO"}
    assert {run.seed for run in plan} == set(study.seeds)
    assert not {other.key(run) for run in plan} & {study.key(run) for run in plan}


def test_what_the_corpora_offer(monkeypatch):
    study = open_study("03_mlsan", "smoke")
    assert study.offers == {"simulation", "names", "strangers", "sessions"}
    assert len(study.strangers["IEMOCAP"]) == 2
    nameless = {
        name: replace(
            corpus,
            **{
                split: tuple(replace(d, speaker=None) for d in getattr(corpus, split))
                for split in ("train", "dev", "test")
            },
        )
        for name, corpus in study.corpora.items()
    }
    monkeypatch.setattr(type(study), "corpora", nameless)
    assert study.offers == {"simulation"}


def test_a_reader_enrols_strangers_for_models_that_read_styles_alone():
    study = open_study("03_mlsan", "smoke")
    runs = [study.config("IEMOCAP", name) for name in ("MultiEMO", "ML-SAN as printed", "ML-SAN")]
    study.sweep(runs)
    read = study.reader(runs, "all")
    for run in runs[:2]:
        assert read(study.key(run)).equals(study.predictions(study.key(run)))
    ours = study.key(runs[2])
    found = read(ours)
    assert found is read(ours), "evaluated once"
    assert found.equals(study.enrolled(runs[2], "all"))
    none = study.reader(runs, 0)(ours)
    test = study.predictions(ours).query("split == 'test'")
    assert none["predicted"].tolist() == test["predicted"].tolist()
    # After two epochs few predictions change, so look at what the classifier sees.
    pair = [study.stages(runs[2], "test", amount).logits for amount in (0, "all")]
    assert not np.allclose(*pair)


def test_real_speakers_have_no_heterogeneity_to_set(tmp_path):
    with pytest.raises(CorpusError, match="heterogeneity can be set for CORPUS=sim only"):
        open_corpora("meld-text", "smoke", tmp_path, BUILD, heterogeneity=0.5)


def test_a_real_corpus_has_no_doses(monkeypatch):
    study = open_study("05_sensitivity", "smoke")
    monkeypatch.setattr(type(study), "simulated", False)
    assert study.doses() == {}


def test_predictions_are_found_by_key():
    study = open_study("03_mlsan", "smoke")
    run = study.config("MELD", "MultiEMO")
    expected = study.result(run).predictions
    assert study.predictions(study.key(run)).equals(expected)


def test_a_device_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="DEVICE=cuda: PyTorch finds no CUDA here"):
        open_study("01_data", "smoke", device="cuda")


def test_a_device_that_is_asked_for_goes_into_every_run(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    study = open_study("01_data", "smoke", device="cuda-bfloat16")
    runs = [*study.plan("main"), *study.dose_plan(), study.config("MELD", "ML-SAN")]
    assert {(r.train.device, r.train.precision) for r in runs} == {("cuda", "bfloat16")}
    plain = open_study("01_data", "smoke", device="cpu")
    assert plain.plan("main") == open_study("01_data", "smoke").plan("main")
