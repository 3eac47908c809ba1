"""Artifacts: what is written, where it comes from, what is stale and what has changed."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from mlsan.corpus.declaration import BUILT_IN
from mlsan.report import (
    ARTIFACTS,
    EMOTION,
    MODALITY,
    SYSTEM,
    Artifact,
    Provenance,
    Session,
    check,
    committed,
    compare,
    emotion_colours,
    paper,
    read_manifest,
    save_figure,
    save_table,
    use_style,
)
from mlsan.report.artifacts import MODULES, PACKAGES, runs_by_row

ORIGIN = Provenance(
    notebook="04_ablations",
    profile="small",
    corpus="sim",
    simulated=True,
    fingerprints={"MELD": "aaa", "IEMOCAP": "bbb"},
    runs=("r1", "r2"),
    code="ccc",
    names={"MELD": "sim-meld", "IEMOCAP": "sim-iemocap"},
)
SESSION = Session(
    profile="small",
    corpus="sim",
    offers=frozenset({"simulation", "names", "strangers", "sessions"}),
    fingerprints={"MELD": "aaa", "IEMOCAP": "bbb"},
    runs=frozenset({"r1", "r2", "r3"}),
    code="ccc",
    started=0.0,
)
# What corpora of conversations have; nEMO's voices have the other artifacts.
EXPECTED = {name for name, artifact in ARTIFACTS.items() if artifact.needs != "voices"}
TABLE = pd.DataFrame({"system": ["w/o FiLM", "a_b"], "wf1": [67.123456, np.nan], "n": [3, 3]})


def figure() -> Figure:
    use_style()
    drawn, axis = plt.subplots()
    axis.plot([0, 1], [1, 0], label="λ")
    axis.legend()
    plt.close(drawn)
    return drawn


def from_its_notebook(name: str) -> Provenance:
    return replace(ORIGIN, notebook=ARTIFACTS[name].notebook)


def save_all(folder: Path) -> None:
    for name, artifact in ARTIFACTS.items():
        if artifact.kind == "table":
            save_table(TABLE, name, folder, from_its_notebook(name))
        else:
            save_figure(figure(), TABLE, name, folder, from_its_notebook(name))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    save_all(folder)
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a folder with every artifact, to be spoilt."""
    for path in finished.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_table_in_three_forms(tmp_path: Path) -> None:
    markdown = save_table(TABLE, "table2_ablation", tmp_path, ORIGIN, note="50% & more.")
    assert (tmp_path / "table2_ablation.csv").read_text() == (
        "system,wf1,n\nw/o FiLM,67.123456,3\na_b,,3\n"
    )
    assert markdown == (tmp_path / "table2_ablation.md").read_text()
    assert markdown.startswith("**Table 2.** ML-SAN and each of its parts left out")
    assert "| w/o FiLM | 67.12 | 3   |" in markdown
    latex = (tmp_path / "table2_ablation.tex").read_text()
    for part in (r"\toprule", r"\bottomrule", r"a\_b & -- & 3 \\", r"50\% \& more.", r"mean $\pm$"):
        assert part in latex


def test_grouped_columns_are_for_the_eye_only(tmp_path: Path) -> None:
    grouped = pd.DataFrame([["ML-SAN", "67.7 ± 0.1"]])
    grouped.columns = pd.MultiIndex.from_tuples([("", "system"), ("sim-meld", "W-F1")])
    with pytest.raises(ValueError, match="one header row"):
        save_table(grouped, "table2_ablation", tmp_path, ORIGIN)
    markdown = save_table(TABLE, "table2_ablation", tmp_path, ORIGIN, display=grouped)
    assert "sim-meld W-F1" in markdown
    assert r"67.7 $\pm$ 0.1" in (tmp_path / "table2_ablation.tex").read_text()
    assert "67.123456" in (tmp_path / "table2_ablation.csv").read_text()


@pytest.mark.parametrize("simulated", [True, False])
def test_what_is_simulated_says_so(tmp_path: Path, simulated: bool) -> None:
    origin = replace(ORIGIN, simulated=simulated)
    save_table(TABLE, "table2_ablation", tmp_path, origin)
    drawn = figure()
    caption = save_figure(
        drawn, TABLE, "fig6_lambda", tmp_path, replace(origin, notebook="05_sensitivity")
    )
    save_figure(drawn, TABLE, "fig6_lambda", tmp_path, replace(origin, notebook="05_sensitivity"))
    entries = read_manifest(tmp_path).values()
    texts = [(tmp_path / f"table2_ablation.{form}").read_text() for form in ("md", "tex")]
    for text in (caption, *texts, *(entry["caption"] for entry in entries)):
        assert ("Simulated" in text) == simulated
    assert [text.get_text() for text in drawn.texts] == ["simulated data"] * simulated


NAMES = ("MELD", "IEMOCAP")


@pytest.mark.parametrize("name", NAMES)
def test_a_simulated_table_cannot_say_that_it_is_the_benchmark(tmp_path: Path, name: str) -> None:
    labels = {"column": TABLE.rename(columns={"system": f"{name} W-F1"}), "cell": TABLE.copy()}
    labels["cell"].loc[0, "system"] = f"w/o FiLM ({name})"
    for frame in labels.values():
        with pytest.raises(ValueError, match=f"table2_ablation says {name}, but .* sim-"):
            save_table(frame, "table2_ablation", tmp_path, ORIGIN)
        with pytest.raises(ValueError, match=name):
            save_table(TABLE, "table2_ablation", tmp_path, ORIGIN, display=frame)
        save_table(frame, "table2_ablation", tmp_path, replace(ORIGIN, simulated=False))
    with pytest.raises(ValueError, match=name):
        save_table(TABLE, "table2_ablation", tmp_path, ORIGIN, note=f"{name}, seed 0.")
    printed = TABLE.rename(columns={"system": f"{name} paper"})
    save_table(printed, "table2_ablation", tmp_path, ORIGIN)


@pytest.mark.parametrize("name", NAMES)
def test_a_simulated_figure_cannot_say_that_it_is_the_benchmark(tmp_path: Path, name: str) -> None:
    origin = replace(ORIGIN, notebook="05_sensitivity")
    for place in ("title", "xlabel", "tick", "text"):
        drawn = figure()
        (axis,) = drawn.axes
        if place == "tick":
            axis.set_xticks([0, 1], ["", name])
        elif place == "text":
            drawn.text(0, 0, f"on {name}.")
        else:
            axis.set(**{place: f"{name}: W-F1"})
        with pytest.raises(ValueError, match=f"fig6_lambda says {name}"):
            save_figure(drawn, TABLE, "fig6_lambda", tmp_path, origin)
    assert not read_manifest(tmp_path)


def test_committed_tables_and_captions_have_the_simulated_corpora_by_their_names() -> None:
    folder = Path(__file__).parents[1] / "figures/sim"
    ours = [name for name, artifact in ARTIFACTS.items() if artifact.origin is None]
    manifest = read_manifest(folder).items()
    entries = {name: e for name, e in manifest if name in ours and e.get("names")}
    if not entries:
        pytest.skip("figures/sim was made before artifacts had the names of their corpora")
    for name, entry in entries.items():
        texts = [entry["caption"]]
        for file in entry["files"]:
            if not file.endswith((".png", ".pdf")):
                texts.append((folder / file).read_text(encoding="utf-8"))
        for text in texts:
            assert not re.search(r"\b(MELD|IEMOCAP)\b(?! paper)", text), name


def test_a_figures_data_are_rounded_to_what_can_be_seen(tmp_path: Path) -> None:
    origin = replace(ORIGIN, notebook="05_sensitivity")
    frame = pd.DataFrame({"lam": [0.0, 0.02, 2.0], "wf1": [61.2345678, 66.2, 71.3], "n": [3, 3, 3]})
    frame["near"], frame["same"] = [-1e-9, 4.00001, 8.0], 16.2231
    frame["single"] = np.array([0.489, 0.5, 0.53], dtype=np.float32)
    other = frame + 1e-5 * np.array([[1, -1, 0, 1, -1, 1]])
    for values in (frame, other.astype({"n": int})):
        save_figure(figure(), values, "fig6_lambda", tmp_path, origin)
        assert (tmp_path / "fig6_lambda.csv").read_text() == (
            "lam,wf1,n,near,same,single\n"
            "0,61.2,3,0,16.2,0.489\n0.02,66.2,3,4,16.2,0.5\n2,71.3,3,8,16.2,0.53\n"
        )


def test_same_content_same_bytes_even_from_another_process(folder: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "import test_report_artifacts as t; t.save_all(Path(sys.argv[2]))"
    )
    again = tmp_path / "again"
    environment = os.environ | {"PYTHONHASHSEED": "5", "MPLBACKEND": "agg"}
    here = Path(__file__).parent
    command = [sys.executable, "-c", script, str(here), str(again)]
    subprocess.run(command, check=True, env=environment, cwd=here.parent)
    names = sorted(path.name for path in again.glob("*.*") if path.suffix != ".lock")
    assert len(names) == 3 * len(ARTIFACTS) + 1
    for name in names:
        assert (again / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.parametrize(
    ("name", "origin", "message"),
    [
        (
            "table9_made_up",
            ORIGIN,
            "no artifact 'table9_made_up' is declared; choose from fig0_starts",
        ),
        ("fig6_lambda", ORIGIN, "is a figure: use save_figure"),
        ("table0_corpora", ORIGIN, "declared to come from 01_data, not 04_ablations"),
    ],
)
def test_undeclared_is_refused_and_nothing_written(
    tmp_path: Path, name: str, origin: Provenance, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save_table(TABLE, name, tmp_path, origin)
    assert list(tmp_path.iterdir()) == []


def test_manifest_says_where_each_comes_from(folder: Path) -> None:
    entries = read_manifest(folder)
    assert list(entries) == list(ARTIFACTS)
    entry = entries["table2_ablation"]
    assert entry["notebook"] == "04_ablations"
    assert entry["runs"] == ["r1", "r2"]
    assert entry["fingerprints"] == {"MELD": "aaa", "IEMOCAP": "bbb"}
    assert set(entry["versions"]) == {"python", *PACKAGES}
    assert set(entry["files"]) == set(ARTIFACTS["table2_ablation"].files)


def test_manifest_names_the_runs_of_each_row(tmp_path: Path) -> None:
    rows = {"MELD / ML-SAN": ("r2", "r1"), "MELD / MultiEMO": ("r3",)}
    save_table(TABLE, "table2_ablation", tmp_path, replace(ORIGIN, rows=rows))
    entry = read_manifest(tmp_path)["table2_ablation"]
    assert entry["rows"] == {"MELD / ML-SAN": ["r2", "r1"], "MELD / MultiEMO": ["r3"]}


def test_rows_are_named_by_the_columns_asked_for() -> None:
    runs = pd.DataFrame(
        {
            "benchmark": ["MELD", "MELD", "IEMOCAP", "MELD"],
            "system": ["ML-SAN", "MultiEMO", "ML-SAN", "ML-SAN"],
            "speaker": ["identity", "", "role", "identity"],
            "lam": [0.5, 0.0, 0.5, 2.0],
            "run": ["a", "b", "c", "d"],
        }
    )
    assert runs_by_row(runs, ["benchmark", "system"]) == {
        "MELD / ML-SAN": ["a", "d"],
        "MELD / MultiEMO": ["b"],
        "IEMOCAP / ML-SAN": ["c"],
    }
    found = runs_by_row(runs, ["benchmark", "system", "speaker", "lam"])
    assert found == {
        "MELD / ML-SAN / identity / 0.5": ["a"],
        "MELD / MultiEMO / 0.0": ["b"],
        "IEMOCAP / ML-SAN / role / 0.5": ["c"],
        "MELD / ML-SAN / identity / 2.0": ["d"],
    }


def test_each_artifact_is_declared_once_in_the_module_of_its_notebook() -> None:
    declared = [
        (module.__name__.rsplit(".nb", 1)[1], value)
        for module in MODULES
        for value in vars(module).values()
        if isinstance(value, Artifact)
    ]
    assert len({artifact.name for _, artifact in declared}) == len(declared) == len(ARTIFACTS)
    for notebook, artifact in declared:
        assert notebook == artifact.notebook


def test_damaged_manifest_is_named(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"artifacts": ')
    with pytest.raises(ValueError, match=r"manifest\.json is damaged: delete it"):
        check(folder, SESSION)


def test_complete_folder_has_no_findings(folder: Path) -> None:
    assert check(folder, SESSION) == []


def test_missing_file_and_missing_entry_are_found(folder: Path) -> None:
    (folder / "fig3_gate.pdf").unlink()
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    del content["artifacts"]["table1_main"]
    manifest.write_text(json.dumps(content))
    found = check(folder, SESSION)
    assert [(f.artifact, f.problem) for f in found] == [
        ("table1_main", "missing"),
        ("fig3_gate", "missing"),
    ]
    assert str(found[1]).endswith("06_qualitative did not write fig3_gate.pdf")


def test_altered_file_is_stale(folder: Path) -> None:
    with (folder / "table2_ablation.csv").open("a") as stream:
        stream.write("by hand,99,3\n")
    (found,) = check(folder, SESSION)
    assert str(found) == (
        "table2_ablation is stale: table2_ablation.csv is not the file that the manifest describes"
    )


@pytest.mark.parametrize(
    ("need", "unexpected"),
    [
        ("simulation", {"fig8_dose", "fig15_balance", "table7_recovery"}),
        ("names", {"table6_seen"}),
        ("strangers", {"fig11_enrolment"}),
        ("sessions", {"table10_dev"}),
    ],
)
def test_what_the_corpora_cannot_provide_is_not_missing(
    tmp_path: Path, need: str, unexpected: set[str]
) -> None:
    session = replace(SESSION, offers=SESSION.offers - {need})
    missed = {f.artifact for f in check(tmp_path, session)}
    assert missed == EXPECTED - unexpected


def test_voices_have_artifacts_of_their_own(tmp_path: Path) -> None:
    found = check(tmp_path, replace(SESSION, offers=SESSION.offers | {"voices"}))
    assert {f.artifact for f in found} == set(ARTIFACTS) - EXPECTED
    assert "table8_voices" in {f.artifact for f in found}


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"profile": "paper"}, "its profile is 'small', this call's is 'paper'"),
        ({"corpus": "multiemo"}, "its corpus is 'sim'"),
        ({"fingerprints": {"MELD": "zzz"}}, "its fingerprints"),
        ({"code": "zzz"}, "its code"),
        ({"runs": frozenset({"r1"})}, "uses runs that are not of this call: r2"),
        ({"started": 4e9}, "was not written by this call"),
    ],
)
def test_an_artifact_of_another_call_is_stale(folder: Path, change: dict, detail: str) -> None:
    found = check(folder, replace(SESSION, **change))
    assert len(found) == len(EXPECTED)
    assert all(f.problem == "stale" and detail in f.detail for f in found)


def test_what_an_up_to_date_notebook_has_written_may_be_older(folder: Path) -> None:
    found = check(folder, replace(SESSION, started=4e9, fresh=frozenset({"04_ablations"})))
    own = {name for name in EXPECTED if ARTIFACTS[name].notebook == "04_ablations"}
    assert own
    assert {f.artifact for f in found} == EXPECTED - own


def changes(folder: Path, before: str, after: str) -> tuple:
    (folder / "table2_ablation.csv").write_text(after)
    (row,) = compare(folder, {"table2_ablation": before}).itertuples(index=False)
    return tuple(row)[1:]


def test_compare_measures_numbers(tmp_path: Path) -> None:
    before = "system,wf1,shown\nA,67.5,67.5 ± 0.1\nB,60.0,60.0 ± 0.2\n"
    after = "system,wf1,shown\nA,67.75,67.75 ± 0.1\nB,58.0,60.0 ± 0.2\n"
    assert changes(tmp_path, before, after) == ("numbers", 3, 2.0, "wf1, row 2")


def test_compare_ignores_how_numbers_are_written(tmp_path: Path) -> None:
    before = 'system,wf1,n,gap\r\nA,67.50,3,\r\n"B",6e1,3,-0.51\r\n'
    after = "system,wf1,n,gap\nA,67.5,3.0,nan\nB,60,3,−0.51\n"
    assert changes(tmp_path, before, after) == ("same", 0, 0.0, "")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("system,wf1\nA,failed\n", ("text", 1, 0.0, "wf1, row 1")),
        (
            "system,f1\nA,1\n",
            ("shape", 0, 0.0, "columns ['system', 'wf1'] became ['system', 'f1']"),
        ),
        ("system,wf1\nA,1\nB,2\n", ("shape", 0, 0.0, "1 rows became 2")),
    ],
)
def test_compare_names_other_changes(tmp_path: Path, after: str, expected: tuple) -> None:
    assert changes(tmp_path, "system,wf1\nA,1\n", after) == expected


def test_compare_names_new_and_gone(tmp_path: Path) -> None:
    save_table(TABLE, "table2_ablation", tmp_path, ORIGIN)
    table = compare(tmp_path, {"table0_corpora": "a\n1\n"})
    assert dict(zip(table["artifact"], table["change"], strict=True)) == {
        "table0_corpora": "gone",
        "table2_ablation": "new",
    }


def test_committed_is_what_git_has_else_what_is_on_disk(tmp_path: Path) -> None:
    folder = tmp_path / "figures" / "sim"
    assert committed(folder) == {}
    folder.mkdir(parents=True)
    path = folder / "table2_ablation.csv"
    path.write_text("a\n1\n")
    assert committed(folder) == {"table2_ablation": "a\n1\n"}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "figures"], ["commit", "-q", "-m", "t"]):
        subprocess.run([*git, *command], check=True)
    path.write_text("a\n2\n")
    (folder / "fig6_lambda.csv").write_text("b\n3\n")
    assert committed(folder) == {"table2_ablation": "a\n1\n", "fig6_lambda": "b\n3\n"}


@pytest.mark.parametrize("colours", [EMOTION, SYSTEM, MODALITY], ids=["emotion", "system", "mode"])
@pytest.mark.parametrize(
    "vision",  # what linear RGB becomes for the eye (Viénot, Brettel and Mollon 1999)
    [
        np.eye(3),
        np.array([[0.1124, 0.8876, 0], [0.1124, 0.8876, 0], [0.0040, -0.0040, 1]]),
        np.array([[0.2927, 0.7073, 0], [0.2927, 0.7073, 0], [-0.0223, 0.0223, 1]]),
    ],
    ids=["full", "protanopia", "deuteranopia"],
)
def test_colours_are_distinct(colours: dict[str, str], vision: np.ndarray) -> None:
    linear = [np.array(to_rgb(colour)) ** 2.2 for colour in {*colours.values()}]
    seen = [(vision @ light).clip(0, 1) ** (1 / 2.2) for light in linear]
    assert min(np.abs(a - b).max() for a, b in combinations(seen, 2)) > 0.09


def test_an_emotion_has_one_colour_in_both_corpora() -> None:
    for declared in BUILT_IN.values():
        colours = emotion_colours(declared.emotions)
        assert colours == {name: EMOTION[name] for name in declared.emotions}
        assert len({*colours.values()}) == len(declared.emotions)
    own = ("bored", "happy", "joy", "cross", *(f"mood {n}" for n in range(20)))
    colours = emotion_colours(own)
    assert tuple(colours) == own
    assert colours["happy"] == EMOTION["happy"]
    assert len({*colours.values()}) == len(own)
    for one, other in (("joy", "happy"), ("sadness", "sad"), ("anger", "angry")):
        assert EMOTION[one] == EMOTION[other]


def test_the_papers_differences_follow_from_its_means() -> None:
    full = paper.TABLE2["ML-SAN"]
    assert full == paper.TABLE1["ML-SAN"]
    assert {"ML-SAN", *paper.TABLE2_DELTA} == paper.TABLE2.keys()
    for system, differences in paper.TABLE2_DELTA.items():
        for benchmark, printed in differences.items():
            gap = paper.TABLE2[system][benchmark].mean - full[benchmark].mean
            assert gap == pytest.approx(printed, abs=0.005)
