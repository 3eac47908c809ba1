"""The one reader: from a folder in the layout of MultiEMO's published features to a Corpus.

Speakers.pkl is a tuple (utterance ids, speakers, labels, _, _, _, _, train ids, test ids[, _]).
The first three are dicts from dialogue id to one entry per utterance. TextFeatures.pkl,
AudioFeatures.pkl and VisualFeatures.pkl are dicts from dialogue id to one row per utterance.

Optional files beside them: identities.json (dialogue id -> names), dev.json (ids of the dev
dialogues), simulation.json (marks a generated corpus), provenance.json (how the features were
made; a record that is not read).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mlsan.corpus import validate
from mlsan.corpus.errors import CorpusError, Place
from mlsan.corpus.splits import choose_dev
from mlsan.corpus.types import Corpus, Dialogue
from mlsan.corpus.unpickle import load_pickle
from mlsan.vocabulary import BENCHMARKS, MODALITIES, Benchmark, Modality

SPEAKERS = "Speakers.pkl"
FEATURES: dict[Modality, str] = {m: f"{m.capitalize()}Features.pkl" for m in MODALITIES}
IDENTITIES, DEV, SIMULATION = "identities.json", "dev.json", "simulation.json"
PROVENANCE = "provenance.json"

_ACTOR = re.compile(r"Ses0(\d)[FM]_")


@dataclass(frozen=True)
class Conversations:
    """The checked content of Speakers.pkl: utterance ids, labels, parties and the two splits."""

    utterances: dict[str, list[Any]]
    label: dict[str, Int[np.ndarray, "_turn"]]
    party: dict[str, Int[np.ndarray, "_turn"]]
    train: list[str]
    test: list[str]


def read_corpus(folder: Path, benchmark: str, name: str) -> Corpus:
    """Read and check the corpus in `folder`; features become float32.

    A missing feature file drops its modality and adds a note. Raises CorpusError if anything
    cannot be used; the message names the file, dialogue, utterance and fix.
    """
    if benchmark not in BENCHMARKS:
        allowed = ", ".join(BENCHMARKS)
        raise CorpusError(f"benchmark {benchmark!r} is unknown. Use one of {allowed}.")
    files = read_files(folder)
    talk = read_conversations(folder / SPEAKERS, files[SPEAKERS], benchmark)
    feature = {
        modality: read_features(folder / file, files[file], talk.label)
        for modality, file in FEATURES.items()
        if file in files
    }
    speaker = read_names(folder / IDENTITIES, files.get(IDENTITIES), talk, benchmark)
    listed = read_json(folder / DEV, files[DEV]) if DEV in files else None
    dev_ids, dev_note = choose_dev(
        Place(folder / DEV), talk.train, talk.utterances, listed, benchmark
    )

    def dialogues(ids: list[str]) -> tuple[Dialogue, ...]:
        return tuple(
            Dialogue(
                id=key,
                label=talk.label[key],
                party=talk.party[key],
                speaker=speaker.get(key),
                feature={modality: rows[key] for modality, rows in feature.items()},
            )
            for key in ids
        )

    return Corpus(
        name=name,
        benchmark=benchmark,
        train=dialogues([key for key in talk.train if key not in dev_ids]),
        dev=dialogues([key for key in talk.train if key in dev_ids]),
        test=dialogues(talk.test),
        sizes={modality: next(iter(rows.values())).shape[1] for modality, rows in feature.items()},
        simulated=(folder / SIMULATION).exists(),
        notes=tuple(
            f"{modality}: {file} is missing; the models run on {' and '.join(feature)}"
            for modality, file in FEATURES.items()
            if file not in files
        )
        + tuple([dev_note] if dev_note else [])
        + unused_note(talk),
    )


def read_files(folder: Path) -> dict[str, bytes]:
    """The bytes of the layout's files, by name; missing files are left out.

    Raises CorpusError if a file cannot be read, and if Speakers.pkl or all feature files are
    missing.
    """
    files = {}
    try:
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        problem = f"cannot be read as a folder ({error.strerror})"
        raise Place(folder).error(problem, f"Give the folder that holds {SPEAKERS}") from error
    for file in (SPEAKERS, *FEATURES.values(), IDENTITIES, DEV):
        if file not in present:
            continue
        try:
            files[file] = (folder / file).read_bytes()
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise Place(folder / file).error(problem, "Change its permissions") from error
    if SPEAKERS not in files:
        raise Place(folder / SPEAKERS).error("the file is missing", "Put the published file there")
    if not set(files) & set(FEATURES.values()):
        fix = f"Put at least one of {', '.join(FEATURES.values())} there"
        raise Place(folder).error("the folder has no feature file", fix)
    return files


def read_conversations(file: Path, data: bytes, benchmark: Benchmark) -> Conversations:
    """Read and check Speakers.pkl: its first three dicts and its two lists of ids."""
    place = Place(file)
    value = load_pickle(data, file)
    if not isinstance(value, tuple | list) or len(value) < 9:
        kind = f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else value
        problem = f"the file holds a {kind}"
        raise place.error(problem, "Store a tuple of 9 or 10 entries, as MultiEMO's files do")
    raw_labels = validate.table(place, value[2], "labels")
    label = {
        key: validate.labels(Place(file, key), row, benchmark) for key, row in raw_labels.items()
    }
    tables = {}
    for index, what in ((0, "utterance ids"), (1, "speakers")):
        tables[what] = validate.table(place, value[index], what)
        validate.same_dialogues(place, tables[what], label)
        for key, row in tables[what].items():
            at = Place(file, key)
            tables[what][key] = validate.sequence(at, row, what)
            validate.same_count(at, tables[what][key], len(label[key]), what)
    train = validate.split(place, value[7], label, "train")
    test = validate.split(place, value[8], label, "test")
    validate.disjoint(place, train, test)
    party = {
        key: validate.parties(Place(file, key), row, benchmark)
        for key, row in tables["speakers"].items()
    }
    return Conversations(tables["utterance ids"], label, party, train, test)


def read_features(
    file: Path, data: bytes, label: Mapping[str, Int[np.ndarray, "_turn"]]
) -> dict[str, Float[np.ndarray, "_turn _feature"]]:
    """Read and check one modality's features, by dialogue."""
    raw = validate.table(Place(file), load_pickle(data, file), "features")
    validate.same_dialogues(Place(file), raw, label)
    feature: dict[str, Float[np.ndarray, "_turn _feature"]] = {}
    for key, rows in raw.items():
        place = Place(file, key)
        feature[key] = validate.features(place, rows, len(label[key]))
        first = next(iter(feature))
        validate.same_size(place, feature[key].shape[1], feature[first].shape[1], first)
    return feature


def read_names(
    file: Path, data: bytes | None, talk: Conversations, benchmark: Benchmark
) -> dict[str, tuple[str, ...]]:
    """Speakers' names by dialogue: from identities.json, else IEMOCAP's actors, else none.

    An actor follows from the session in the dialogue's id and from M or F.
    """
    if data is not None:
        raw = validate.table(Place(file), read_json(file, data), "names")
        validate.same_dialogues(Place(file), raw, talk.label)
        return {
            key: validate.names(Place(file, key), row, len(talk.label[key]))
            for key, row in raw.items()
        }
    if benchmark != "IEMOCAP" or not all(_ACTOR.match(key) for key in talk.label):
        return {}
    return {
        key: tuple(actor(key, party) for party in talk.party[key].tolist()) for key in talk.label
    }


def actor(dialogue: str, party: int) -> str:
    """IEMOCAP's actor, e.g. Ses05_F, from the dialogue's id and the party (M 0, F 1)."""
    return f"{dialogue[:5]}_{'MF'[party]}"


def read_json(file: Path, data: bytes) -> Any:
    """The value of a JSON file."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise Place(file).error(f"the file is not JSON ({error})", "Fix or remove it") from error


def unused_note(talk: Conversations) -> tuple[str, ...]:
    """A note if some dialogues have labels but are in no split."""
    unused = set(talk.label) - set(talk.train) - set(talk.test)
    return (f"{len(unused)} dialogues are in no split and are not used",) if unused else ()
