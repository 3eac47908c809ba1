"""The one reader: from a folder in the layout of MultiEMO's published features to a Corpus.

Speakers.pkl is a tuple (utterance ids, speakers, labels, _, _, _, _, train ids, test ids[, _]).
The first three are dicts from dialogue id to one entry per utterance. TextFeatures.pkl,
AudioFeatures.pkl and VisualFeatures.pkl are dicts from dialogue id to one row per utterance.

Files beside them: corpus.json (name, emotions and roles; `mlsan.corpus.declaration`), and optional
ones: identities.json (dialogue id -> names), dev.json (ids of the dev dialogues), simulation.json
(the settings of a generated corpus), provenance.json (how the features were made; a record that is
only checked to be JSON).

Files can come from strangers. Threat model:

1. Reading a corpus executes nothing from its files: no function that a pickle names is called.
2. Only regular files are opened, and links to them: no pipes, devices or folders.
3. A pickle is read by a process of its own that imports neither numpy nor this package.
4. That process makes numbers, text and inert records; arrays are made here, from checked records.
5. For a file of n bytes that process takes at most 256 MiB + 256 n of memory and 5 s + 1 s per MB
   of computing. Linux enforces this; elsewhere only limits on depth, count and size do. What comes
   back is bounded by the limits on size.
6. What cannot be used is one CorpusError of one line; long values are cut, control characters
   escaped. No other exception, no crash of the caller, and no value dropped silently.
7. Reading writes no file.
8. Not promised: that numbers are right. Features, labels and names that fit the layout are
   believed, and so is a simulation.json that fits them.
9. Not promised: protection from who can write the files, the package or its environment while
   they are read, or from flaws in Python's JSON parser or in numpy's array constructor.
10. Not covered: model checkpoints, notebooks and build/, which are the user's own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from pydantic import ValidationError

from mlsan.corpus import validate
from mlsan.corpus.declaration import read_declaration
from mlsan.corpus.errors import Place, shown
from mlsan.corpus.regular import read_json
from mlsan.corpus.splits import choose_dev, listed_dev
from mlsan.corpus.types import Corpus, Declaration, Dialogue
from mlsan.corpus.unpickle import load_pickles
from mlsan.vocabulary import MODALITIES, Benchmark, Modality

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


def read_corpus(folder: Path, benchmark: str | None = None, name: str | None = None) -> Corpus:
    """Read and check the corpus in `folder`; features become float32.

    `benchmark` is the name that the folder must declare, and the built-in declaration of a folder
    without corpus.json whose own name is not MELD or IEMOCAP. `name` is the corpus's name in
    tables; without it, it is the declared one. A missing feature file drops its modality and adds
    a note. Raises CorpusError if anything cannot be used; the message names the file, dialogue,
    utterance and fix.
    """
    present = files_of(folder)
    declared = read_declaration(folder, benchmark)
    table = load_pickles(
        folder / file for file in (SPEAKERS, *FEATURES.values()) if file in present
    )
    json = {
        file: read_json(folder / file)
        for file in (IDENTITIES, DEV, SIMULATION, PROVENANCE)
        if file in present
    }
    talk = read_conversations(folder / SPEAKERS, table[folder / SPEAKERS], declared)
    feature = {
        modality: read_features(folder / file, table[folder / file], talk.label)
        for modality, file in FEATURES.items()
        if file in present
    }
    if IDENTITIES in json:
        speaker = read_names(folder / IDENTITIES, json[IDENTITIES], talk)
    else:
        speaker = actors(talk, declared.name)
    if DEV in json:
        dev_ids, dev_note = listed_dev(Place(folder / DEV), talk.train, json[DEV]), None
    else:
        place = Place(folder / SPEAKERS)
        dev_ids, dev_note = choose_dev(place, talk.train, talk.utterances, declared.name)

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

    corpus = Corpus(
        name=name or declared.name,
        declaration=declared,
        train=dialogues([key for key in talk.train if key not in dev_ids]),
        dev=dialogues([key for key in talk.train if key in dev_ids]),
        test=dialogues(talk.test),
        sizes={modality: next(iter(rows.values())).shape[1] for modality, rows in feature.items()},
        simulated=SIMULATION in json,
        notes=tuple(
            f"{modality}: {file} is missing; the models run on {' and '.join(feature)}"
            for modality, file in FEATURES.items()
            if file not in present
        )
        + tuple([dev_note] if dev_note else [])
        + unused_note(talk),
    )
    if corpus.simulated:
        check_simulation(Place(folder / SIMULATION), json[SIMULATION], corpus)
    return corpus


def files_of(folder: Path) -> set[str]:
    """The names of what is in the folder.

    Raises CorpusError if it cannot be read, and if Speakers.pkl or all feature files are missing.
    """
    try:
        present = {path.name for path in folder.iterdir()}
    except (OSError, ValueError) as error:
        problem = f"cannot be read as a folder ({getattr(error, 'strerror', error)})"
        raise Place(folder).error(problem, f"Give the folder that holds {SPEAKERS}") from error
    if SPEAKERS not in present:
        raise Place(folder / SPEAKERS).error("the file is missing", "Put the published file there")
    if not present & set(FEATURES.values()):
        fix = f"Put at least one of {', '.join(FEATURES.values())} there"
        raise Place(folder).error("the folder has no feature file", fix)
    return present


def read_conversations(file: Path, value: Any, declared: Declaration) -> Conversations:
    """Check the content of Speakers.pkl: its first three dicts and its two lists of ids."""
    place = Place(file)
    if not isinstance(value, tuple | list) or len(value) < 9:
        sized = isinstance(value, tuple | list | dict | set | frozenset | str | bytes)
        kind = f"{type(value).__name__} of {len(value)}" if sized else shown(value)
        problem = f"the file holds a {kind}"
        raise place.error(problem, "Store a tuple of 9 or 10 entries, as MultiEMO's files do")
    raw_labels = validate.table(place, value[2], "labels")
    label = {
        key: validate.labels(Place(file, key), row, declared.emotions)
        for key, row in raw_labels.items()
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
        key: validate.parties(Place(file, key), row, declared.roles)
        for key, row in tables["speakers"].items()
    }
    return Conversations(tables["utterance ids"], label, party, train, test)


def read_features(
    file: Path, value: Any, label: Mapping[str, Int[np.ndarray, "_turn"]]
) -> dict[str, Float[np.ndarray, "_turn _feature"]]:
    """Check the content of one modality's file: its features, by dialogue."""
    raw = validate.table(Place(file), value, "features")
    validate.same_dialogues(Place(file), raw, label)
    if (joined := validate.joined_features(raw, {key: len(label[key]) for key in raw})) is not None:
        return joined
    # Something is wrong, or in another form: look at one dialogue after the other.
    feature: dict[str, Float[np.ndarray, "_turn _feature"]] = {}
    for key, rows in raw.items():
        place = Place(file, key)
        feature[key] = validate.features(place, rows, len(label[key]))
        first = next(iter(feature))
        validate.same_size(place, feature[key].shape[1], feature[first].shape[1], first)
    return feature


def read_names(file: Path, value: Any, talk: Conversations) -> dict[str, tuple[str, ...]]:
    """Check the content of identities.json: the speakers' names by dialogue."""
    raw = validate.table(Place(file), value, "names")
    validate.same_dialogues(Place(file), raw, talk.label)
    return {
        key: validate.names(Place(file, key), row, len(talk.label[key])) for key, row in raw.items()
    }


def actors(talk: Conversations, benchmark: Benchmark) -> dict[str, tuple[str, ...]]:
    """IEMOCAP's actors by dialogue; nobody for other ids and other benchmarks.

    An actor follows from the session in the dialogue's id and from M or F.
    """
    if benchmark != "IEMOCAP" or not all(_ACTOR.match(key) for key in talk.label):
        return {}
    return {
        key: tuple(actor(key, party) for party in talk.party[key].tolist()) for key in talk.label
    }


def actor(dialogue: str, party: int) -> str:
    """IEMOCAP's actor, e.g. Ses05_F, from the dialogue's id and the party (M 0, F 1)."""
    return f"{dialogue[:5]}_{'MF'[party]}"


def check_simulation(place: Place, value: Any, corpus: Corpus) -> None:
    """Raise CorpusError unless simulation.json has the settings of a corpus of this size."""
    # The simulator reads its corpora with this module.
    from mlsan.corpus.simulate.settings import Simulation

    fix = "Remove it, or generate the corpus again"
    try:
        settings = Simulation.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        problem = f"not the settings of a simulated corpus ({field}: {first['msg']})"
        raise place.error(problem, fix) from error
    for what, stated, found in (
        ("benchmark", settings.benchmark, corpus.benchmark),
        *((s, getattr(settings, s), len(getattr(corpus, s))) for s in ("train", "dev", "test")),
        *((modality, settings.sizes[modality], size) for modality, size in corpus.sizes.items()),
    ):
        if stated != found:
            raise place.error(f"{what} is {stated}, but the corpus has {found}", fix)


def unused_note(talk: Conversations) -> tuple[str, ...]:
    """A note if some dialogues have labels but are in no split."""
    unused = set(talk.label) - set(talk.train) - set(talk.test)
    return (f"{len(unused)} dialogues are in no split and are not used",) if unused else ()
