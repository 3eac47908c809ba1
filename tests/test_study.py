"""Settings are checked before any work is done, and say what is allowed."""

import pytest

from mlsan.__main__ import main
from mlsan.study import check_parameters, open_study


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"profile": "tiny"}, "unknown PROFILE 'tiny'; choose one of smoke, small, paper"),
        ({"corpus": "meld"}, "unknown CORPUS 'meld'; choose one of sim, multiemo"),
        ({"corpus": "multiemo"}, "multiemo needs DATA"),
        ({"corpus": "multiemo", "data": "/nowhere"}, "/nowhere: there is no such folder"),
        ({"corpus": "sim", "data": "/tmp"}, "DATA"),
        ({"jobs": "0"}, "JOBS='0' must be a positive number"),
        ({"jobs": "many"}, "JOBS='many' must be a positive number"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        open_study("01_data", **settings)


def test_a_misspelled_notebook_parameter_is_refused():
    check_parameters(["PROFILE", "CORPUS", "np", "_ih", "In", "__name__"])
    with pytest.raises(ValueError, match="unknown parameter PROFLE; there are PROFILE, CORPUS"):
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
    with pytest.raises(ValueError, match="unknown plan 'all'; the plans are main, ablation"):
        study.plan("all")


def test_each_profile_has_a_folder_of_its_own():
    assert open_study("01_data", "smoke").figures.name == "sim-smoke"
    study = open_study("01_data", "smoke")
    assert study.executed.name == "sim-smoke"
    assert study.simulated
    assert study.oracle("MELD").name.endswith("oracle-calibrated")


def test_all_metrics_come_from_the_same_predictions():
    study = open_study("03_mlsan", "smoke")
    run = study.config("MELD", "MultiEMO")
    table, scores = study.per_class(run), study.scores(run)
    weighted = (table["f1"] * table["support"]).sum() / table["support"].sum()
    assert scores["wf1"] == pytest.approx(weighted)
    assert scores["wf1"] == pytest.approx(study.result(run).summary["test_wf1"])
    assert scores["macro_f1"] == pytest.approx(table["f1"].mean())
    assert table["support"].sum() == sum(map(len, study.corpora["MELD"].test))
