"""What a sweep says of itself, read off the run folders alone."""

from mlsan.training import run_config
from mlsan.training.progress import Progress


def write_epochs(folder, count):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.csv").write_text("epoch\n" + "".join(f"{i}\n" for i in range(count)))


def test_progress_names_runs_epochs_and_what_is_left(tmp_path, monkeypatch):
    runs = [run_config("MELD", "smoke", "ML-SAN", seed, epochs=10) for seed in range(3)]
    folders = {run: tmp_path / str(run.seed) for run in runs}
    write_epochs(folders[runs[2]], 4)  # stopped earlier: not running, but behind us
    progress = Progress(folders)
    clock = iter((0.0, 60.0))
    monkeypatch.setattr("mlsan.training.progress.time.monotonic", lambda: next(clock))
    write_epochs(folders[runs[0]], 1)
    assert progress._line() == (
        "runs: 0 done, 1 running, 0 failed, 2 left | ML-SAN MELD lam=0.5 seed=0 epoch 1/10"
    )
    write_epochs(folders[runs[0]], 6)
    progress.finished(runs[1], "failed")
    # 15 epochs a minute since the first was seen, 10 of 30 left
    said = progress._line()
    assert said.startswith("runs: 0 done, 1 running, 1 failed, 1 left")
    assert said.endswith("seed=0 epoch 6/10 | 0.7 min left")
