"""The object that notebooks work with: corpora, runs, and where tables and figures go."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from mlsan.corpus import OPENERS, Corpus
from mlsan.corpus.catalogue import DATA
from mlsan.corpus.enrolment import Amount
from mlsan.corpus.simulate import (
    Truth,
    oracle_calibrated,
    read_truth,
    simulated_folder,
    simulation,
)
from mlsan.evaluation import Stages, score_table, stages_of
from mlsan.evaluation.enrolled import enrolled_predictions
from mlsan.evaluation.heterogeneity import strangers
from mlsan.report import Provenance, runs_by_row, save_figure, save_table, use_style
from mlsan.report.declaration import Need
from mlsan.report.tables import Table, labelled
from mlsan.training import (
    PLANS,
    PROFILES,
    SCALES,
    Result,
    Source,
    check_device,
    code_digest,
    dose_runs,
    find_result,
    is_finished,
    on_device,
    read_jobs,
    run_key,
    run_settings,
    standardised_runs,
    sweep,
    system_of,
)
from mlsan.training.loop import divided, enrolment_of, new_model
from mlsan.training.plans import Plan
from mlsan.training.settings import RunSettings
from mlsan.vocabulary import Benchmark

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
RUNS = BUILD / "runs"
NOTEBOOKS = ROOT / "notebooks"
# The columns that name a row of a table in the manifest.
ROW = ("benchmark", "system")
Runs = pd.DataFrame | Iterable[str]


@dataclass(frozen=True)
class Study:
    """A profile on a corpus. Make one with `open_study`."""

    source: Source
    jobs: int | str | None
    notebook: str
    device: str | None = None

    @property
    def profile(self) -> str:
        """smoke, small or paper."""
        return self.source.profile

    @property
    def corpora(self) -> dict[Benchmark, Corpus]:
        """The corpora by benchmark, the name that each declares."""
        return self.source.open()

    @property
    def names(self) -> dict[Benchmark, str]:
        """What tables, figures and sentences call each corpus, such as sim-meld."""
        return {name: corpus.name for name, corpus in self.corpora.items()}

    def labelled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with the column `corpus` beside `benchmark`: what readers are shown."""
        return labelled(frame, self.names)

    def _shown(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with `corpus` in the place of `benchmark`, as it is saved."""
        return self.labelled(frame).drop(columns="benchmark", errors="ignore")

    @property
    def emotions(self) -> dict[Benchmark, tuple[str, ...]]:
        """The emotions of each corpus, in the order of its labels."""
        return {name: corpus.declaration.emotions for name, corpus in self.corpora.items()}

    @property
    def simulated(self) -> bool:
        """Whether any of the corpora is simulated."""
        return any(corpus.simulated for corpus in self.corpora.values())

    @property
    def named(self) -> bool:
        """Whether any of the corpora names its speakers."""
        return any(corpus.named for corpus in self.corpora.values())

    @property
    def voices(self) -> bool:
        """Whether this is the study of notebook 9."""
        return self.source.corpus == "nemo"

    @property
    def offers(self) -> frozenset[Need]:
        """What the corpora have of what tables and figures may need."""
        there: dict[Need, bool] = {
            "voices": self.voices,
            "simulation": self.simulated,
            "names": self.named,
            "strangers": any(self.strangers.values()),
            "sessions": any(r.train.dev == "session" for r in self.plan("dev")),
        }
        return frozenset(need for need, found in there.items() if found)

    @property
    def strangers(self) -> dict[Benchmark, list[str]]:
        """The named test speakers of each corpus who never speak in training."""
        return {name: strangers(corpus) for name, corpus in self.corpora.items()}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Each corpus's digest."""
        return {name: corpus.fingerprint for name, corpus in self.corpora.items()}

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of Table 1 in this profile."""
        return SCALES[self.profile].seeds

    @property
    def folder(self) -> Path:
        """The folder of the corpus's files: DATA, or else the one that downloads go to."""
        return self.source.data or DATA / self.source.corpus

    @property
    def figures(self) -> Path:
        """Folder of the tables and figures; that of profile small has the corpus's plain name."""
        suffix = "" if self.profile == "small" else f"-{self.profile}"
        return ROOT / "figures" / f"{self.source.corpus}{suffix}"

    @property
    def executed(self) -> Path:
        """Folder of the executed notebooks and their HTML."""
        return BUILD / "notebooks" / f"{self.source.corpus}-{self.profile}"

    @property
    def caveats(self) -> str:
        """What a reader of the numbers must know about the corpora, in sentences."""
        found = []
        for benchmark, corpus in self.corpora.items():
            found += [f"{corpus.name}: {note}." for note in corpus.notes]
            run = self.config(benchmark, "ML-SAN")
            if not set(run.model.film_modalities) & set(corpus.modalities):
                found.append(f"{corpus.name}: without audio and visual, FiLM does nothing.")
        return " ".join(found)

    def key(self, run: RunSettings) -> str:
        """The key of a run: the name of its folder, and the run's name in the manifest."""
        return run_key(run, self.corpora[run.benchmark])

    def predictions(self, key: str) -> pd.DataFrame:
        """The predictions of a finished run, given its key: one row per dev or test utterance."""
        return find_result(RUNS, key).predictions

    def oracle(self, benchmark: Benchmark) -> Corpus:
        """A simulated corpus with every speaker's style undone exactly.

        Raises ValueError for a real corpus.
        """
        return _oracle(self._simulated(benchmark))

    def truth(self, benchmark: Benchmark) -> Truth:
        """The speakers' true styles. Raises ValueError for a real corpus."""
        return read_truth(self._simulated(benchmark))

    def _simulated(self, benchmark: Benchmark) -> Path:
        if not self.corpora[benchmark].simulated:
            raise ValueError(f"{benchmark} is not simulated: its speakers' true style is unknown")
        return simulated_folder(simulation(benchmark, self.profile), self.source.cache)

    def plan(self, *names: str) -> list[RunSettings]:
        """The runs of some plans (keys of PLANS) on every benchmark, without repetition."""
        unknown = [name for name in names if name not in PLANS]
        if unknown:
            raise ValueError(f"unknown plan {unknown[0]!r}; choose from {', '.join(PLANS)}")
        return self._planned(*(PLANS[name] for name in names))

    def _planned(self, *plans: Plan) -> list[RunSettings]:
        runs = [
            run
            for benchmark, corpus in self.corpora.items()
            for plan in plans
            for run in plan(benchmark, self.profile, corpus.named)
        ]
        return list(dict.fromkeys(map(self._placed, runs)))

    def doses(self) -> dict[float, "Study"]:
        """The study at each heterogeneity of Fig. A8; empty for real corpora."""
        if not self.simulated:
            return {}
        levels = SCALES[self.profile].doses
        return {h: replace(self, source=replace(self.source, heterogeneity=h)) for h in levels}

    def dose_plan(self) -> list[RunSettings]:
        """The runs to train at each dose."""
        return self._planned(dose_runs)

    def standardised(self) -> "Study":
        """The study on audio and visual features standardised by speaker.

        The statistics are over all unlabelled utterances of a speaker, those of test included.
        """
        return replace(self, source=replace(self.source, features="standardised"))

    def standardised_plan(self) -> list[RunSettings]:
        """The runs to train on standardised features."""
        return self._planned(standardised_runs)

    def config(self, benchmark: Benchmark, system: str, seed: int = 0, **changes) -> RunSettings:
        """One run's settings in this profile; the speaker is the identity where it is known."""
        named = self.corpora[benchmark].named
        run = run_settings(benchmark, self.profile, system, seed, named=named, **changes)
        return self._placed(run)

    def _placed(self, run: RunSettings) -> RunSettings:
        return on_device(run, self.device) if self.device else run

    def sweep(self, runs: Sequence[RunSettings]) -> pd.DataFrame:
        """Train the missing runs, reuse the others: one row per run."""
        return sweep(runs, self.source, RUNS, self.jobs)

    def finished(self, runs: Sequence[RunSettings]) -> pd.DataFrame:
        """The rows of the runs that are finished; trains nothing."""
        return self.sweep([run for run in runs if is_finished(RUNS, self.key(run))])

    @staticmethod
    def system(run: RunSettings) -> str:
        """The name of a run's system."""
        return system_of(run.model)

    def result(self, run: RunSettings) -> Result:
        """A run's files, trained first if missing. Raises RuntimeError if training fails."""
        row = self.sweep([run]).iloc[0]
        if row["status"] == "failed":
            raise RuntimeError(f"{run.benchmark} seed {run.seed} failed: {row['error']}")
        return find_result(RUNS, self.key(run))

    def model(self, run: RunSettings) -> nn.Module:
        """The trained model of a run, at its best dev epoch."""
        return self.result(run).model(run, self.corpora[run.benchmark])

    def parameters(self, run: RunSettings) -> int:
        """The number of parameters of a run's model, which need not be trained."""
        corpus = divided(run, self.corpora[run.benchmark])
        model = new_model(run, corpus, enrolment_of(run, corpus).code.size)
        return sum(p.numel() for p in model.parameters())

    def stages(self, run: RunSettings, split: str, amount: Amount = 0) -> Stages:
        """Every stage of a trained model over one split, strangers enrolled with `amount`."""
        corpus = self.corpora[run.benchmark]
        return stages_of(run, corpus, self.model(run), getattr(corpus, split), amount)

    def enrolled(self, run: RunSettings, amount: Amount, draw: int = 0) -> pd.DataFrame:
        """What a trained run predicts on test with strangers enrolled with `amount`.

        One row per test utterance, with the columns of a run's predictions. `draw` and the run's
        seed decide which utterances are drawn.
        """
        corpus = self.corpora[run.benchmark]
        generator = np.random.default_rng([draw, run.seed])
        return enrolled_predictions(run, corpus, self.model(run), amount, generator)

    def reader(self, runs: Iterable[RunSettings], amount: Amount) -> Callable[[str], pd.DataFrame]:
        """Like `predictions`, of these runs, with strangers enrolled with `amount`.

        A model that reads no styles predicts the same whoever is enrolled.
        """
        known = {self.key(run): run for run in runs}

        @cache
        def read(key: str) -> pd.DataFrame:
            run = known[key]
            return self.enrolled(run, amount) if run.model.styled else self.predictions(key)

        return read

    def save_table(
        self,
        table: Table | pd.DataFrame,
        name: str,
        runs: Runs = (),
        note: str = "",
        by: Sequence[str] = ROW,
    ) -> str:
        """Write a declared table made from `runs`; returns it as Markdown.

        `runs` are the rows of a sweep or the keys of runs. From rows the manifest also learns which
        runs are behind each row of the table, named by the columns `by`.
        """
        data, shown = map(self._shown, table if isinstance(table, Table) else (table, table))
        origin = self._provenance(runs, by)
        return save_table(data, name, self.figures, origin, display=shown, note=note)

    def save_figure(
        self,
        figure: Figure,
        data: pd.DataFrame,
        name: str,
        runs: Runs = (),
        note: str = "",
        by: Sequence[str] = ROW,
    ) -> str:
        """Write a declared figure with its plotted data; returns its caption as Markdown.

        `runs` and `by` are those of `save_table`.
        """
        origin = self._provenance(runs, by)
        return save_figure(figure, self._shown(data), name, self.figures, origin, note=note)

    def _provenance(self, runs: Runs, by: Sequence[str]) -> Provenance:
        frame = isinstance(runs, pd.DataFrame)
        return Provenance(
            notebook=self.notebook,
            profile=self.profile,
            corpus=self.source.corpus,
            simulated=self.simulated,
            fingerprints=self.fingerprints,
            runs=tuple(sorted(set(runs["run"] if frame else runs))),
            code=code_digest(),
            rows=runs_by_row(runs, by) if frame else {},
            names=self.names,
        )

    def scores(self, run: RunSettings, split: str = "test") -> dict[str, float]:
        """Weighted F1, macro F1 and accuracy of the dev-selected predictions."""
        return score_table(self.result(run).predictions.query("split == @split"))


# Notebooks ask for it once per run, and it reads the whole corpus.
_oracle = cache(oracle_calibrated)
PARAMETERS = ("PROFILE", "CORPUS", "DATA", "JOBS", "DEVICE")


def check_parameters(names: Iterable[str]) -> None:
    """Raise ValueError for a misspelled notebook parameter: an unknown name in capitals.

    Call it with `globals()` in a notebook's first cell.
    """
    unknown = [n for n in names if n.isupper() and n[0] != "_" and n not in PARAMETERS]
    if unknown:
        raise ValueError(f"unknown parameter {unknown[0]}; choose from {', '.join(PARAMETERS)}")


def open_notebook(notebook: str, names: Mapping[str, object]) -> Study:
    """The study of a notebook, from its parameters: `open_notebook("01_data", globals())`.

    Also sets the style of its figures. Raises ValueError as `check_parameters` and `open_study` do.
    """
    check_parameters(names)
    use_style()
    return open_study(notebook, *(names[parameter] for parameter in PARAMETERS))


def open_study(
    notebook: str,
    profile: str = "small",
    corpus: str = "sim",
    data: str | Path | None = None,
    jobs: int | str | None = None,
    device: str | None = None,
) -> Study:
    """Check the settings and open the corpora; simulated ones are generated first.

    Raises ValueError, naming the allowed values, for an unknown profile, corpus or device, a
    missing or superfluous `data`, a device that this machine lacks, and `jobs` that is neither a
    positive number nor an address.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown PROFILE {profile!r}; choose one of {', '.join(PROFILES)}")
    if corpus not in OPENERS:
        raise ValueError(f"unknown CORPUS {corpus!r}; choose one of {', '.join(OPENERS)}")
    spread = read_jobs(jobs)
    if device:
        check_device(device)
    if data and corpus in ("sim", "nemo"):
        raise ValueError(f"DATA={str(data)!r}: CORPUS={corpus} has its own data, leave DATA out")
    folder = Path(data).expanduser().resolve() if data else None
    source = Source(corpus, profile, folder, BUILD / "corpora")
    source.open()
    return Study(source, spread, notebook, device or None)
