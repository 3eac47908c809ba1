"""A run's key changes with all that decides its numbers, and with nothing else."""

import ast
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from corpus_files import iemocap, write
from tiny import source, tiny

from mlsan.corpus import read_corpus, reader
from mlsan.model import MODELS, WRAPPERS
from mlsan.training import BASELINES, VARIANTS, begin, epochs, run_key, run_settings
from mlsan.training.keys import LOOP, PACKAGE, REGISTRY, closure, meaning, models_of, run_code

ALL = set(MODELS)
MULTIEMO = {"MultiEMO", "ML-SAN"}


@pytest.fixture
def scratch(tmp_path) -> Path:
    """A copy of the package."""
    ignored = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(PACKAGE, tmp_path / "mlsan", ignore=ignored)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return source(tmp_path_factory.mktemp("corpora")).open()


def changed(scratch: Path) -> set[str]:
    """The models whose code differs between the package and its copy."""
    return {name for name, model in MODELS.items() if run_code(model) != run_code(model, scratch)}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has no single {old!r}"
    path.write_text(text.replace(old, new))


def test_a_copy_has_the_same_keys(scratch):
    assert changed(scratch) == set()


@pytest.mark.parametrize(
    ("file", "models"),
    [
        *((f"corpus/{name}.py", ALL) for name in ("batch", "speakers", "types")),
        *((f"model/{name}.py", ALL) for name in ("interface", "losses")),
        *((f"training/{name}.py", ALL) for name in ("loop", "settings")),
        *((f"{name}.py", ALL) for name in ("scores", "vocabulary")),
        ("model/fast/fusion.py", MULTIEMO),
        ("model/multiemo.py", MULTIEMO),
        ("model/mlsan.py", {"ML-SAN"}),
        ("model/baselines/common.py", set(BASELINES) - {"M2FNet"}),
        ("model/baselines/mmgcn.py", {"MMGCN"}),
        ("model/baselines/new.py", set()),
        ("model/__init__.py", set()),
        ("model/checkpoints.py", set()),
        ("corpus/__init__.py", set()),
        ("corpus/reader.py", set()),
        ("corpus/declaration.py", set()),
        *(
            (f"training/{name}.py", set())
            for name in ("cluster", "keys", "plans", "profiles", "progress", "runs", "sweeps")
        ),
        ("training/systems.py", set()),
        ("evaluation/probes.py", set()),
        ("report/tables.py", set()),
        ("study.py", set()),
    ],
)
def test_a_constant_changes_the_keys_of_the_runs_that_import_it(scratch, file, models):
    with (scratch / file).open("a") as module:
        module.write("\nUNUSED = 1\n")
    assert changed(scratch) == models


@pytest.mark.parametrize("file", ["model/baselines/mmgcn.py", "model/adapted.py", "model/mlsan.py"])
def test_a_wrapped_runs_key_has_the_code_of_the_wrapper_and_of_the_model_inside(scratch, file):
    models = models_of(run_settings("MELD", "smoke", "MMGCN + speaker", 0).model)
    assert models == [WRAPPERS["+ speaker"], MODELS["MMGCN"]]
    before = [run_code(model) for model in models]
    assert [run_code(model, scratch) for model in models] == before
    with (scratch / file).open("a") as module:
        module.write("\nUNUSED = 1\n")
    run_code.cache_clear()
    assert [run_code(model, scratch) for model in models] != before


def test_the_fast_code_is_part_of_the_key(scratch):
    for path in (scratch / "model" / "fast").glob("[a-z]*.py"):
        path.write_text(path.read_text() + "\nUNUSED = 1\n")
    assert changed(scratch) >= MULTIEMO


@pytest.mark.parametrize("field", ["roles", "emotions"])
def test_the_declaration_is_part_of_the_key(corpora, field):
    corpus = corpora["MELD"]
    more = (*getattr(corpus.declaration, field), "one more")
    declared = corpus.declaration.model_copy(update={field: more})
    other = dataclasses.replace(corpus, declaration=declared)
    assert run_key(tiny(), other) != run_key(tiny(), corpus)


def test_comments_docstrings_and_layout_are_not_part_of_the_key(scratch):
    for path in scratch.rglob("*.py"):
        text = ast.unparse(ast.parse(path.read_text()))
        text = re.sub(r'"""(\w)', r'"""Other words. \1', text)
        path.write_text(f"# A comment.\n{text}\n\n'A string.'\n")
    assert changed(scratch) == set()


def test_meaning_sees_code_alone():
    plain = "def f(x):\n    return x + 1\n"
    described = '"""Module."""\ndef f(x):\n    """Doc."""\n    # why\n    return (x + 1)\n'
    assert meaning(plain) == meaning(described)
    assert meaning(plain) != meaning(plain.replace("1", "2"))
    assert meaning("x = 'a'") != meaning("x = 'b'")


def test_imports_are_followed_wherever_they_stand(tmp_path):
    files = {
        "__init__": "from package import unseen",
        "unseen": "",
        "start": "import json, package.a\nfrom package import b\ndef f():\n    from . import c",
        "a": "from package.inner import name",
        "b": "from .inner.deep import name\nimport package.start",
        "c": "",
        "inner/__init__": "from package.inner.used import name",
        "inner/deep": "from ..d import name",
        "inner/used": "",
        "d": "",
    }
    for name, text in files.items():
        path = tmp_path / "package" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    inner = {f"package.{name}" for name in ("inner", "inner.deep", "inner.used")}
    outer = {f"package.{name}" for name in ("start", "a", "b", "c", "d")}
    assert set(closure(["package.start"], tmp_path / "package")) == inner | outer


@pytest.mark.parametrize("name", [*MODELS, *VARIANTS, "MMGCN + speaker"])
def test_training_runs_no_code_outside_its_key(corpora, name):
    run = run_settings("MELD", "smoke", name, 0, epochs=1)
    files = set()

    def record(frame, event, _):
        if event == "call":
            files.add(frame.f_code.co_filename)

    sys.setprofile(record)
    try:
        for _ in epochs(run, corpora["MELD"], begin(run, corpora["MELD"])):
            pass
    finally:
        sys.setprofile(None)
    used = {Path(file) for file in files if file.startswith(str(PACKAGE))}
    known = closure([LOOP, *(model.partition(":")[0] for model in models_of(run.model))])
    registry = closure([REGISTRY])[REGISTRY]
    assert known[LOOP] in used
    assert used - {registry} <= set(known.values())


def test_a_model_outside_the_package_is_refused():
    with pytest.raises(ValueError, match=r"elsewhere\.model is no module below .*: move it there"):
        run_code("elsewhere.model:Model")


def test_settings_are_part_of_the_key(corpora):
    changes = [{}, {"lam": 0.9}, {"seed": 1}, {"lr": 0.1}, {"tau": 2.0}, {"speaker": "role"}]
    keys = {run_key(tiny(**change), corpora["MELD"]) for change in changes}
    assert len(keys) == len(changes)


def test_the_decoded_corpus_is_part_of_the_key(tmp_path, monkeypatch):
    run = run_settings("IEMOCAP", "smoke", "ML-SAN", 0)

    def key(name: str, files: dict, protocol: int = 4) -> str:
        folder = write(tmp_path / name, files, protocol)
        return run_key(run, read_corpus(folder, "IEMOCAP", name))

    first = key("first", iemocap())
    assert key("other bytes", iemocap(), protocol=2) == first
    features = iemocap()
    features["AudioFeatures.pkl"]["Ses05F_impro03"] += 1
    assert key("other features", features) != first
    monkeypatch.setattr(reader, "actor", lambda dialogue, party: "nobody")
    assert key("other speakers", iemocap()) != first


SCRIPT = """
import json, sys
from pathlib import Path
from mlsan.model import MODELS
from mlsan.training import PLANS, Source, run_key, run_settings, sweep

source = Source("sim", "smoke", None, Path(sys.argv[1]))
corpus = source.open()["MELD"]
keys = {name: run_key(run_settings("MELD", "smoke", name, 0), corpus) for name in MODELS}
planned = [run for run in PLANS["main"]("MELD", "smoke", True) if run.model.name == "Mine"]
table = sweep(planned[:1], source, Path(sys.argv[2]), jobs=1)
print(json.dumps([keys, json.loads(table.to_json(orient="records"))]))
"""
MINE = """
import torch
from mlsan.model.interface import EmotionModel, ModelSettings, Output


class MineSettings(ModelSettings):
    name: str = "Mine"


class Mine(EmotionModel):
    Settings = MineSettings

    def __init__(self, settings, sizes):
        super().__init__()
        self.classify = torch.nn.Linear(sizes.features["text"], sizes.classes)

    def forward(self, batch):
        z = batch.feature["text"].transpose(0, 1)[batch.mask.T]
        return Output(logits=self.classify(z), z=z, fused={}, stages={})
"""


def test_one_module_and_one_line_make_a_baseline_and_change_no_other_key(
    scratch, corpora, tmp_path
):
    before = {
        name: run_key(run_settings("MELD", "smoke", name, 0), corpora["MELD"]) for name in MODELS
    }
    (scratch / "model" / "mine.py").write_text(MINE)
    last = '    "ML-SAN": "mlsan.model.mlsan:MLSAN",\n'
    line = '    "Mine": "mlsan.model.mine:Mine",\n'
    replace(scratch / "model" / "__init__.py", last, last + line)
    field = '    name: str = "MMGCN"\n'
    replace(scratch / "model" / "baselines" / "mmgcn.py", field, field + "    new: int = 0\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "corpora"), str(tmp_path / "runs")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    after, (row,) = json.loads(done.stdout)
    assert {name for name in before if before[name] != after[name]} == {"MMGCN"}
    assert (row["system"], row["status"], row["run"]) == ("Mine", "trained", after["Mine"])
    assert row["test_wf1"] > 0
