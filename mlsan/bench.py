"""`make bench`: the time, arithmetic and memory of a training step, by model and stage.

Each row is measured in a process of its own, so that one row's peak of memory does not count for
the next, on simulated dialogues of the profile's sizes. The arithmetic is that of the step's matrix
products; how long the device needs for it follows from the rate of one large product.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mlsan.corpus import Batch, batches
from mlsan.files import write_atomically
from mlsan.model.fast import arrays, products, recurrence
from mlsan.published import URL, PublishedCodeError, check, published_step
from mlsan.training import BASELINES, PROFILES, Source, begin, run_settings
from mlsan.training.loop import TrainingState, enrolment_of, label_weights, targets, train_step
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import BENCHMARKS, Benchmark

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
SYSTEMS = ("MultiEMO", "ML-SAN", *BASELINES)
FEW = 4  # dialogues on which the reference is timed; it computes the losses pair by pair
PRODUCT = 2048  # rows and columns of the product whose rate is measured
# At most so many dialogues are timed beside the published code, which keeps every pair of
# utterances in memory.
PUBLISHED_DIALOGUES = {"MELD": 100, "IEMOCAP": 40}
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

    def run(self, **changes) -> RunSettings:
        """The run whose step is measured; `changes` as for `run_settings`."""
        kind = {"device": self.device, "precision": self.precision}
        return run_settings(self.benchmark, self.profile, self.system, 0, **kind, **changes)


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

    def __call__(self) -> Tensor:
        """Make the batch and train on it, as the loop does. Returns the loss before the step."""
        return train_step(self.run, self.state, self.batch(), self.weight)["loss"]

    def wait(self) -> float:
        """The time in seconds after the device has finished all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, repeats: int, *others: Callable[[], object]) -> list[float]:
        """Median times of the step and of other tasks, all called in turn.

        The first call of each does not count.
        """
        taken = []
        for _ in range(repeats + 1):
            marks = [self.wait()]
            for task in (self, *others):
                task()
                marks.append(self.wait())
            taken.append([end - start for start, end in pairwise(marks)])
        return [median(times) for times in zip(*taken[1:], strict=True)]

    def product(self) -> Callable[[], object]:
        """A square product in the step's precision, the fastest that the models use."""
        precision = getattr(torch, self.run.train.precision)
        factors = torch.rand(2, PRODUCT, PRODUCT, device=self.device).to(precision)
        return partial(products.product, *factors)

    def operations(self) -> int:
        """Additions and multiplications in the step's matrix products; trains one step.

        PyTorch's counter does not see products by NumPy and oneDNN: this step does without them.
        """
        with (
            patch.object(recurrence, "arrays", arrays.on_torch),
            patch.object(products, "LARGE", math.inf),
            FlopCounterMode(display=False) as counter,
        ):
            self()
        return counter.get_total_flops()

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
    """Time, throughput, peak memory of this process, arithmetic and stages of one case."""
    torch.set_num_threads(1)
    step = Step(case.run(), case.profile)
    step.seconds(1)
    peak = _peak(case.device)  # without the factors of the product
    seconds, product = step.seconds(case.repeats, step.product())
    # Counted on the CPU: the counter does not see what a GPU does in one kernel.
    counted = Step(replace(case, device="cpu", precision="float32").run(), case.profile)
    operations, rate = counted.operations(), 2 * PRODUCT**3 / product
    utterances = sum(map(len, step.dialogues))
    return {
        "dialogues": len(step.dialogues),
        "utterances": utterances,
        "step s": seconds,
        "utterances/s": utterances / seconds,
        "GFLOP": operations / 1e9,
        "product GFLOP/s": rate / 1e9,
        "times its arithmetic": seconds * rate / operations,
        "peak GB": peak / 1e9,
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
    ratio = slow[1] / step.seconds(max(3, case.repeats))[0]
    return {"reference dialogues": len(step.dialogues), "times the reference's speed": ratio}


def reference_step(step: Step) -> None:
    """Forward pass, losses and backward pass of a step's MultiEMO by the reference."""
    from mlsan.model import reference
    from mlsan.model.checkpoints import published_state

    batch = step.batch()
    label, _ = targets(batch, step.device)
    output = reference.multiemo(published_state(step.state.model), batch, step.run.model)
    reference.erc_loss(step.run.loss, output, label, step.weight).backward()


def compare_published(folder: Path, case: Case) -> dict[str, object]:
    """Times of MultiEMO's step in the published code and in ours: same weights, same dialogues.

    Ours is timed in the published form, which computes the same, and with padding masked. Raises
    PublishedCodeError if the code in `folder` does not compute the same loss.
    """
    torch.set_num_threads(1)
    # The published code derives the width of its classifier.
    width = case.run().model.d * (2 if case.benchmark == "MELD" else 1)
    run = case.run(classifier=width, mask_padding=False)
    dialogues = min(run.train.batch, PUBLISHED_DIALOGUES[case.benchmark])
    ours = Step(run, case.profile, dialogues)
    masked = Step(case.run(classifier=width), case.profile, dialogues)
    try:
        theirs = published_step(folder, run, ours.state.model, ours.batch(), ours.weight)
        found, expected = theirs(), ours().item()
        if not math.isclose(found, expected, rel_tol=1e-3):
            raise ValueError(f"its loss is {found:.6g}, ours {expected:.6g}")
    except Exception as error:  # Foreign code may fail in many ways.
        raise PublishedCodeError(
            f"{folder}/Model/MultiEMO_Model.py does not fit: {error!r}; set PUBLISHED to an "
            f"unchanged checkout of {URL}"
        ) from error
    unmasked_s, masked_s, theirs_s = ours.seconds(case.repeats, masked, theirs)
    return {
        "published dialogues": dialogues,
        "published step s": theirs_s,
        "our step s, unmasked as published": unmasked_s,
        "our step s, masked": masked_s,
    }


def table(
    profile: str,
    systems: tuple[str, ...] = SYSTEMS,
    benchmarks: tuple[Benchmark, ...] = BENCHMARKS,
    repeats: int = 7,
    published: Path | None = None,
) -> pd.DataFrame:
    """One row per benchmark, system, and available device and precision.

    `published` is a checkout of the published code, which is then timed beside ours. Raises
    PublishedCodeError if it is not one.
    """
    if published:
        check(published)
    kinds = [kind for kind in KINDS if kind[0] == "cpu" or torch.cuda.is_available()]
    cases = [
        Case(profile, benchmark, system, device, precision, repeats)
        for benchmark in benchmarks
        for system in systems
        for device, precision in kinds
    ]
    multiemo = [case for case in cases if case.system == "MultiEMO"]
    single = [case for case in multiemo if case.precision == "float32"] if published else []
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as alone:

        def found(task: Callable[..., dict], chosen: list[Case]) -> dict[Case, dict]:
            return dict(zip(chosen, alone.map(task, chosen), strict=True))

        beside = found(partial(compare_published, published), single)
        measured = found(measure, cases)
        ratios = found(compare, [case for case in multiemo if case.device == "cpu"])
    rows = [
        {field: getattr(case, field) for field in NAMES}
        | measured[case]
        | ratios.get(case, {})
        | beside.get(case, {})
        for case in cases
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
    parser.add_argument("--published", type=Path, help="a checkout of the published code")
    options = parser.parse_args(arguments)
    published = options.published and options.published.expanduser().resolve()
    try:
        found = table(
            options.profile,
            tuple(options.systems),
            tuple(options.benchmarks),
            options.repeats,
            published,
        )
    except PublishedCodeError as error:
        print(f"make bench: {error}", file=sys.stderr)
        return 2
    path = BUILD / f"bench-{options.profile}.csv"
    write_atomically(path, found.to_csv(index=False))
    print(shown(found))
    print(f"\nOne thread on the CPU. Written to {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
