"""`make bench`: the time and memory of a training step, by model and stage.

Each row is measured in a process of its own, so that one row's peak of memory does not count for
the next, on simulated dialogues of the profile's sizes.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import pandas as pd
import torch

from mlsan.corpus import Batch, batches
from mlsan.files import write_atomically
from mlsan.training import BASELINES, PROFILES, Source, begin, run_settings
from mlsan.training.loop import TrainingState, enrolment_of, label_weights, targets, train_step
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import BENCHMARKS, Benchmark

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
SYSTEMS = ("MultiEMO", "ML-SAN", *BASELINES)
FEW = 4  # dialogues on which the reference is timed; it computes the losses pair by pair
KINDS = (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16"))
NAMES = ("profile", "benchmark", "system", "device", "precision")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    profile: str
    benchmark: Benchmark
    system: str
    device: str
    precision: str
    repeats: int

    def run(self) -> RunSettings:
        """The run whose step is measured."""
        kind = {"device": self.device, "precision": self.precision}
        return run_settings(self.benchmark, self.profile, self.system, 0, **kind)


class Step:
    """A step of training that can be repeated on the same dialogues.

    `dialogues` is the size of the batch; None means that of the run.
    """

    def __init__(self, run: RunSettings, profile: str, dialogues: int | None = None):
        corpus = Source("sim", profile, None, BUILD / "corpora").open()[run.benchmark]
        self.run = run
        self.device = torch.device(run.train.device)
        self.state: TrainingState = begin(run, corpus)
        self.state.model.train()
        self.weight = label_weights(run, corpus).to(self.device)
        self.dialogues = corpus.train[: dialogues or run.train.batch]
        self.speakers = enrolment_of(run, corpus).evaluation(self.dialogues)

    def batch(self) -> Batch:
        """The dialogues as one batch."""
        return next(batches(self.dialogues, self.speakers, len(self.dialogues)))

    def __call__(self) -> None:
        """Make the batch and train on it, as the loop does."""
        train_step(self.run, self.state, self.batch(), self.weight)

    def wait(self) -> float:
        """The time in seconds after the device has finished all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, repeats: int) -> float:
        """Median time of a step, after one that does not count."""
        taken = []
        for _ in range(repeats + 1):
            start = self.wait()
            self()
            taken.append(self.wait() - start)
        return median(taken[1:])

    def shares(self, repeats: int) -> dict[str, float]:
        """Percent of the step's time by stage; parts of the model have the model's own names.

        Hooks divide the step where the model's parts begin and end. They stay on the model.
        """
        spent: dict[str, float] = {}
        last = 0.0

        def ends(stage: str) -> Callable[..., None]:
            """A hook that adds the time since the hook before it to `stage`."""

            def hook(*_) -> None:
                nonlocal last
                now = self.wait()
                spent[stage] = spent.get(stage, 0.0) + now - last
                last = now

            return hook

        model, optimiser = self.state.model, self.state.optimiser
        model.register_forward_pre_hook(ends("data"))
        for stage, part in _parts(model):
            part.register_forward_pre_hook(ends("layout and rest"))
            part.register_forward_hook(ends(stage))
        model.register_forward_hook(ends("layout and rest"))
        model.total_loss = _then(model.total_loss, ends("losses"))
        optimiser.register_step_pre_hook(ends("backward"))
        optimiser.register_step_post_hook(ends("optimiser"))
        for _ in range(repeats):
            last = self.wait()
            self()
        whole = sum(spent.values())
        return {f"% {stage}": 100 * seconds / whole for stage, seconds in spent.items()}


def _parts(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The model's children that are called; those in containers under the container's name."""
    for name, child in model.named_children():
        held = isinstance(child, torch.nn.ModuleDict | torch.nn.ModuleList)
        yield from ((name, part) for part in (child.children() if held else (child,)))


def _then(function: Callable, hook: Callable[[], None]) -> Callable:
    """The function, with a call of `hook` when it returns."""

    def call(*arguments):
        result = function(*arguments)
        hook()
        return result

    return call


def measure(case: Case) -> dict[str, object]:
    """Time, throughput, peak memory of this process, and stages of one case."""
    torch.set_num_threads(1)
    step = Step(case.run(), case.profile)
    seconds = step.seconds(case.repeats)
    utterances = sum(map(len, step.dialogues))
    return {
        "dialogues": len(step.dialogues),
        "utterances": utterances,
        "step s": seconds,
        "utterances/s": utterances / seconds,
        "peak GB": _peak(case.device) / 1e9,
        **step.shares(case.repeats),
    }


def _peak(device: str) -> int:
    """Bytes: on a GPU those that torch allocated, on a CPU the whole process with its libraries."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def compare(case: Case) -> dict[str, object]:
    """How many times faster MultiEMO is than `mlsan.model.reference`, on one CPU thread.

    Both train on the same few dialogues; the reference without a step of the optimiser.
    """
    torch.set_num_threads(1)
    step = Step(case.run(), case.profile, FEW)
    slow = []
    for _ in range(2):
        start = time.perf_counter()
        reference_step(step)
        slow.append(time.perf_counter() - start)
    ratio = slow[1] / step.seconds(max(3, case.repeats))
    return {"reference dialogues": len(step.dialogues), "times the reference's speed": ratio}


def reference_step(step: Step) -> None:
    """Forward pass, losses and backward pass of a step's MultiEMO by the reference."""
    from mlsan.model import reference
    from mlsan.model.checkpoints import published_state

    batch = step.batch()
    label, _ = targets(batch, step.device)
    output = reference.multiemo(published_state(step.state.model), batch, step.run.model)
    reference.erc_loss(step.run.loss, output, label, step.weight).backward()


def table(
    profile: str,
    systems: tuple[str, ...] = SYSTEMS,
    benchmarks: tuple[Benchmark, ...] = BENCHMARKS,
    repeats: int = 7,
) -> pd.DataFrame:
    """One row per benchmark, system, and available device and precision."""
    kinds = [kind for kind in KINDS if kind[0] == "cpu" or torch.cuda.is_available()]
    cases = [
        Case(profile, benchmark, system, device, precision, repeats)
        for benchmark in benchmarks
        for system in systems
        for device, precision in kinds
    ]
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as alone:
        measured = list(alone.map(measure, cases))
        compared = [case for case in cases if (case.system, case.device) == ("MultiEMO", "cpu")]
        ratios = dict(zip(compared, alone.map(compare, compared), strict=True))
    rows = [
        {**{field: getattr(case, field) for field in NAMES}, **found, **ratios.get(case, {})}
        for case, found in zip(cases, measured, strict=True)
    ]
    return pd.DataFrame(rows)


def shown(table: pd.DataFrame) -> str:
    """The table as Markdown, with the stages of each row in one cell, largest first."""
    shares = [name for name in table if name.startswith("% ")]
    stages = [
        ", ".join(f"{name[2:]} {share:.0f}" for name, share in row if share >= 1)
        for row in (
            row[shares].dropna().sort_values(ascending=False).items() for _, row in table.iterrows()
        )
    ]
    short = table.drop(columns=shares).assign(**{"% by stage": stages})
    short = short.astype(object).where(short.notna(), None)
    return short.to_markdown(index=False, floatfmt=".3g")


def main(arguments: list[str] | None = None) -> int:
    """Print the table and write it under build/."""
    parser = argparse.ArgumentParser(prog="mlsan.bench", description=__doc__)
    parser.add_argument("--profile", default="small", choices=PROFILES)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--benchmarks", nargs="+", default=BENCHMARKS, choices=BENCHMARKS)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args(arguments)
    found = table(
        options.profile, tuple(options.systems), tuple(options.benchmarks), options.repeats
    )
    path = BUILD / f"bench-{options.profile}.csv"
    write_atomically(path, found.to_csv(index=False))
    print(shown(found))
    print(f"\nOne thread on the CPU. Written to {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
