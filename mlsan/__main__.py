"""`python -m mlsan paper`: train, run the notebooks, write every table and figure.

`data` provides a corpus and `check-data` checks one.
"""

import argparse
import os
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from rich.console import Console

from mlsan.corpus import DATA, OPENERS, Corpus, read_any
from mlsan.report import Session, check, committed, compare, read_manifest
from mlsan.report.freshness import inputs, is_fresh, record
from mlsan.report.nb01_data import corpora_table
from mlsan.report.notebooks import NotebookError, execute
from mlsan.study import NOTEBOOKS, ROOT, Study, open_study
from mlsan.training import DEVICES, PLANS, PROFILES, code_digest

VOICES = "09_voices"  # the notebook of the corpus nemo, and of no other
say = Console(soft_wrap=True, highlight=False).print


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns 0 for success, 1 for incomplete results, 2 for wrong settings."""
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except (ValueError, OSError) as error:
        print(f"make {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"make {options.command}: stopped; the same command resumes", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlsan", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("paper", help="regenerate every table and figure")
    run.add_argument("--profile", default="small", help=" | ".join(PROFILES))
    run.add_argument("--corpus", default="sim", help=" | ".join(OPENERS))
    run.add_argument("--data", type=Path, help="folder of a corpus or of several")
    run.add_argument("--jobs", help="processes, or a Dask scheduler's address; default: every core")
    run.add_argument("--device", help=f"{' | '.join(DEVICES)}; default: cuda for profile paper")
    fetch = commands.add_parser("data", help="download real data, or read your own table")
    fetch.add_argument("--corpus", required=True, help="multiemo | meld-text | nemo | csv")
    fetch.add_argument("--data", type=Path, help=f"folder; default: one in {DATA.name}/")
    fetch.add_argument("--url", help="another address for the same files")
    look = commands.add_parser("check-data", help="check whether a folder can be used, and how")
    look.add_argument("--data", type=Path, required=True, help="folder of a corpus or of several")
    return parser


def run_paper(options: argparse.Namespace) -> int:
    """`make paper`"""

    def opened(corpus: str, data: Path | None) -> Study:
        return open_study("paper", options.profile, corpus, data, options.jobs, options.device)

    study = opened(options.corpus, options.data)
    return paper([study] if study.voices else [study, opened("nemo", None)])


def run_data(options: argparse.Namespace) -> int:
    """`make data`"""
    from mlsan.corpus.fetch.obtain import obtain  # only this command needs the network libraries

    given = options.data.expanduser().resolve() if options.data else None
    folder = obtain(options.corpus, given, options.url, say)
    # A table has become feature files in the layout that CORPUS=multiemo reads.
    corpus = "multiemo" if options.corpus == "csv" else options.corpus
    data = f" {shlex.quote(f'DATA={folder}')}" if folder != DATA / corpus else ""
    say(f"Next: make paper CORPUS={corpus}{data}", style="bold", markup=False)
    return 0


def run_check(options: argparse.Namespace) -> int:
    """`make check-data`"""
    corpora = read_any(options.data.expanduser().resolve())
    say(corpora_table(corpora).shown.to_markdown(index=False))
    for corpus in corpora.values():
        for line in usage(corpus):
            say(f"{corpus.benchmark}: {line}")
    return 0


def usage(corpus: Corpus) -> list[str]:
    """How the models will use a corpus."""
    features = ", ".join(f"{m} ({size})" for m, size in corpus.sizes.items())
    speakers = "identity (names found)" if corpus.named else "role (no names found)"
    return [
        f"modalities: {features}",
        f"a speaker is: {speakers}",
        f"{len(corpus.dev)} of {len(corpus.dev) + len(corpus.train)} training dialogues are dev",
        *(f"note: {note}" for note in corpus.notes),
    ]


COMMANDS = {"paper": run_paper, "data": run_data, "check-data": run_check}


def paper(studies: Sequence[Study]) -> int:
    """Train every run of each study, execute its notebooks, then check every artifact."""
    started = time.time()
    failures, findings = [], []
    for study in studies:
        before = committed(study.figures)
        describe_corpora(study)
        keys, failed = train(study)
        unfinished, fresh = run_notebooks(study, keys)
        failures += failed + unfinished
        session = Session(
            profile=study.profile,
            corpus=study.source.corpus,
            offers=study.offers,
            fingerprints=study.fingerprints,
            runs=frozenset(keys),
            code=code_digest(),
            started=started,
            fresh=frozenset(fresh),
        )
        findings += check(study.figures, session)
        list_artifacts(study, before)
    for problem in [*failures, *map(str, findings)]:
        say(f"PROBLEM: {problem}", style="bold red")
    minutes = (time.time() - started) / 60
    say(f"{'Not complete' if failures or findings else 'Complete'} after {minutes:.1f} min.")
    return 1 if failures or findings else 0


def describe_corpora(study: Study) -> None:
    """Print the corpora and what was left out of them."""
    say(f"Profile {study.profile}, corpus {study.source.corpus}")
    for corpus in study.corpora.values():
        kind = "simulated, " if corpus.simulated else ""
        counts = " + ".join(f"{len(getattr(corpus, s))} {s}" for s in ("train", "dev", "test"))
        features = ", ".join(f"{m} {size}" for m, size in corpus.sizes.items())
        say(f"  {corpus.name}: {kind}{counts} dialogues; features {features}")
        for note in corpus.notes:
            say(f"    note: {note}")


def train(study: Study) -> tuple[list[str], list[str]]:
    """Train all runs of all plans; returns their keys and what failed."""
    # joblib replaces a worker between two runs once its memory has grown, and says so.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs")
    runs = study.plan("voices") if study.voices else study.plan(*PLANS)
    others = [(dose, dose.dose_plan()) for dose in study.doses().values()]
    others = [(dose, plan) for dose, plan in others if dose.source != study.source]
    others.append((study.standardised(), study.standardised_plan()))
    say(f"Runs: {len(runs) + sum(len(plan) for _, plan in others)}")
    table = pd.concat([study.sweep(runs), *(other.sweep(plan) for other, plan in others)])
    counts = table["status"].value_counts().to_dict()
    say("  " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    failed = table[table["status"] == "failed"].to_dict("records")
    return list(table["run"]), [
        f"run {row['run']} failed ({row['system']}, {row['benchmark']}, lam {row['lam']:g}, "
        f"seed {row['seed']}): {row['error']}"
        for row in failed
    ]


def run_notebooks(study: Study, keys: Sequence[str]) -> tuple[list[str], list[str]]:
    """Execute copies of the study's notebooks, several at once, unless they are up to date.

    `keys` are those of its runs. Returns what failed and the notebooks that were up to date.
    """
    parameters = {
        "PROFILE": study.profile,
        "CORPUS": study.source.corpus,
        "DATA": str(study.source.data or ""),
        "JOBS": str(study.jobs or ""),
        "DEVICE": study.device or "",
    }
    # The last notebooks take longest: first they keep all cores busy to the end.
    found = sorted(NOTEBOOKS.glob("*.py"), reverse=True)
    sources = [source for source in found if (source.stem == VOICES) == study.voices]
    digests = inputs(sources, parameters, study.fingerprints, keys, study.source.data)
    waiting = {
        source: digest
        for source, digest in digests.items()
        if not is_fresh(_stamp(study, source), digest, _entries(study, source))
    }
    failures, fresh = [], [source.stem for source in sources if source not in waiting]
    if fresh:
        say(f"  up to date: {', '.join(sorted(fresh))}")
    # The runs are trained, so no notebook waits for another.
    here = study.jobs if isinstance(study.jobs, int) else os.cpu_count() or 1
    pool = Parallel(here, return_as="generator", pre_dispatch="n_jobs")
    executed = pool(
        delayed(_execute)(source, study.executed / f"{source.stem}.ipynb", parameters)
        for source in waiting
    )
    for (source, digest), (page, seconds, failure) in zip(waiting.items(), executed, strict=True):
        if failure:
            failures.append(failure)
            continue
        entries = _entries(study, source)
        files = [study.figures / name for entry in entries.values() for name in entry["files"]]
        outputs = [page, page.with_suffix(".ipynb"), *files]
        record(_stamp(study, source), digest, outputs, entries)
        say(f"  {source.stem}: {seconds:.0f} s, {page.relative_to(ROOT)}")
    return failures, fresh


def _stamp(study: Study, source: Path) -> Path:
    return study.executed / f"{source.stem}.json"


def _entries(study: Study, source: Path) -> dict[str, dict]:
    """The manifest's entries of what a notebook has written."""
    entries = read_manifest(study.figures)
    return {name: e for name, e in entries.items() if e["notebook"] == source.stem}


def _execute(
    source: Path, target: Path, parameters: dict[str, object]
) -> tuple[Path | None, float, str]:
    """Execute one notebook: its page, the seconds it took, and why it failed."""
    started = time.monotonic()
    try:
        return execute(source, target, parameters), time.monotonic() - started, ""
    except NotebookError as error:
        return None, time.monotonic() - started, str(error)


def list_artifacts(study: Study, before: dict[str, str]) -> None:
    """Print every artifact with its files, and how its numbers differ from the committed ones."""
    changes = compare(study.figures, before).set_index("artifact").to_dict("index")
    say(f"Artifacts in {study.figures.relative_to(ROOT)}/ (compared with what is committed)")
    for name, entry in read_manifest(study.figures).items():
        change = changes.get(name, {"change": "missing"})
        text = change["change"]
        if text in ("numbers", "text", "shape"):
            text += f" differ in {change['cells']} cells, by at most {change['largest']:.4g}"
            text += f" at {change['where']}"
        say(f"  {name}: {', '.join(entry['files'])} – {text}")


if __name__ == "__main__":
    sys.exit(main())
