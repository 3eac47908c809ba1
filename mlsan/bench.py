"""`make bench`: what a training step costs in time and memory, by model and stage.

Every row is measured in a process of its own, so that peaks of memory do not leak from one to
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
from mlsan.corpus.batch import drop_identities, pack
from mlsan.files import write_atomically
from mlsan.model import reference
from mlsan.model.checkpoints import published_state
from mlsan.model.losses import emotion_loss
from mlsan.training import BASELINES, PROFILES, Source, begin, run_settings
from mlsan.training.loop import Fit, label_weights, speaker_code, targets
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import BENCHMARKS, Benchmark

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
SYSTEMS = ("MultiEMO", "ML-SAN", *BASELINES)
ORACLE = 4  # dialogues that the definition, which goes pair by pair, is timed on
KINDS = (("cpu", "float32"), ("cuda", "float32"), ("cuda", "bfloat16"))
NAMES = ("profile", "benchmark", "system", "device", "precision")
Mark = Callable[[str], None]


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
        """The run whose step this is."""
        kind = {"device": self.device, "precision": self.precision}
        return run_settings(self.benchmark, self.profile, self.system, 0, **kind)


class Step:
    """One step of training, again and again on the same dialogues, told to a `mark` by stage.

    `dialogues` is how many of them make the batch; None takes as many as the run does.
    """

    def __init__(self, run: RunSettings, profile: str, dialogues: int | None = None):
        corpus = Source("sim", profile, None, BUILD / "corpora").open()[run.benchmark]
        self.run = run
        self.device = torch.device(run.train.device)
        self.state: Fit = begin(run, corpus)
        self.state.model.train()
        self.weight = label_weights(run, corpus).to(self.device)
        code = speaker_code(run, corpus)
        self.speakers = code.size
        self.dialogues = corpus.train[: dialogues or run.train.batch]
        self.codes = code.encode(self.dialogues)

    def batch(self) -> Batch:
        """The dialogues side by side."""
        return next(batches(self.dialogues, self.codes, len(self.dialogues)))

    def __call__(self, mark: Mark) -> None:
        """As `mlsan.training.loop.train_epoch` does it."""
        run, optimiser = self.run, self.state.optimiser
        batch = self.batch()
        label, speaker = targets(batch, self.device)
        told = drop_identities(batch, run.train.unknown_rate, self.state.generator, self.speakers)
        told = told.to(self.device)
        mark("data")
        reduced = run.train.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            output = self.state.model(told)
        mark("layout and rest")
        erc, _ = emotion_loss(run.loss, output, label, self.weight)
        loss, _ = self.state.model.total_loss(erc, output, speaker)
        mark("losses")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        mark("backward")
        optimiser.step()
        mark("optimiser")

    def wait(self) -> float:
        """The time in seconds, once the device has done all it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, repeats: int) -> float:
        """Median time of a step, after one that does not count."""
        taken = []
        for _ in range(repeats + 1):
            start = self.wait()
            self(lambda stage: None)
            taken.append(self.wait() - start)
        return median(taken[1:])

    def shares(self, repeats: int) -> dict[str, float]:
        """Percent of the step by stage; the parts of the forward pass go by the model's own names.

        The time between two marks belongs to the later one.
        """
        total: dict[str, float] = {}
        last = self.wait()

        def mark(stage: str) -> None:
            nonlocal last
            now = self.wait()
            total[stage] = total.get(stage, 0.0) + now - last
            last = now

        for stage, part in _parts(self.state.model):
            part.register_forward_pre_hook(lambda *_: mark("layout and rest"))
            part.register_forward_hook(lambda *_, stage=stage: mark(stage))
        for _ in range(repeats):
            last = self.wait()
            self(mark)
        whole = sum(total.values())
        return {f"% {stage}": 100 * spent / whole for stage, spent in total.items()}


def _parts(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The model's children that are called, those in containers by the container's name."""
    for name, child in model.named_children():
        held = isinstance(child, torch.nn.ModuleDict | torch.nn.ModuleList)
        yield from ((name, part) for part in (child.children() if held else (child,)))


def measure(case: Case) -> dict[str, object]:
    """Time, throughput, memory and stages of one case. Peaks are this process's."""
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
    """Bytes: on a GPU what torch had allocated, on a CPU the whole process with its libraries."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def compare(case: Case) -> dict[str, object]:
    """How many times faster than the definition, with one CPU thread on the same few dialogues."""
    torch.set_num_threads(1)
    step = Step(case.run(), case.profile, ORACLE)
    by_definition = _definition(step)
    slow = []
    for _ in range(2):
        start = time.perf_counter()
        by_definition()
        slow.append(time.perf_counter() - start)
    ratio = slow[1] / step.seconds(max(3, case.repeats))
    return {"oracle dialogues": len(step.dialogues), "times the oracle's speed": ratio}


def _definition(step: Step) -> Callable[[], None]:
    """Forward, losses and backward by the definition, with weights of the model's sizes."""
    run, model = step.run, step.state.model
    batch = step.batch()
    label = pack(batch.label, batch.mask)

    def once() -> None:
        output = reference.multiemo(published_state(model), batch, run.model)
        reference.erc_loss(run.loss, output, label, step.weight).backward()

    return once


def table(
    profile: str,
    systems: tuple[str, ...] = SYSTEMS,
    benchmarks: tuple[Benchmark, ...] = BENCHMARKS,
    repeats: int = 7,
) -> pd.DataFrame:
    """One row for each benchmark, system, device and precision there is."""
    kinds = [kind for kind in KINDS if kind[0] == "cpu" or torch.cuda.is_available()]
    cases = [
        Case(profile, benchmark, system, device, precision, repeats)
        for benchmark in benchmarks
        for system in systems
        for device, precision in kinds
    ]
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as alone:
        measured = list(alone.map(measure, cases))
        defined = [case for case in cases if (case.system, case.device) == ("MultiEMO", "cpu")]
        ratios = dict(zip(defined, alone.map(compare, defined), strict=True))
    rows = [
        {**{field: getattr(case, field) for field in NAMES}, **found, **ratios.get(case, {})}
        for case, found in zip(cases, measured, strict=True)
    ]
    return pd.DataFrame(rows)


def shown(table: pd.DataFrame) -> str:
    """The table for people: the stages of each row in one cell, largest first."""
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
