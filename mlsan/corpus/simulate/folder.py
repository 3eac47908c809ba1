"""Simulated corpora on disk: files in the published layout, and the truth behind them."""

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mlsan.corpus.declaration import BUILT_IN
from mlsan.corpus.errors import Place
from mlsan.corpus.generated import digest, generated
from mlsan.corpus.reader import DEV, FEATURES, IDENTITIES, SIMULATION, SPEAKERS, read_corpus
from mlsan.corpus.simulate.conversations import Person, Talk, conversations, people
from mlsan.corpus.simulate.expression import Expression, express
from mlsan.corpus.simulate.settings import Simulation
from mlsan.corpus.types import Corpus, Dialogue
from mlsan.files import write_contents
from mlsan.vocabulary import MODALITIES, Modality

TRUTH = "truth.npz"


def simulated_folder(settings: Simulation, cache: Path) -> Path:
    """The folder of this corpus under `cache`, generated first if it is missing or damaged.

    Its name contains a digest of the settings and of the generator's code.
    """
    stamp = digest(Path(__file__).parent, settings.model_dump_json().encode())
    folder = cache / f"sim-{settings.benchmark.lower()}-{stamp}"
    return generated(folder, partial(write, settings))


def write(settings: Simulation, folder: Path) -> None:
    """Generate the corpus into an empty folder, and record the digests of its files."""
    everyone = people(settings)
    talks = conversations(settings)
    speaker = np.concatenate([talk.speaker for talk in talks])
    label = np.concatenate([talk.label for talk in talks])
    shown = express(settings, everyone, speaker, label)
    meld = settings.benchmark == "MELD"
    key = {talk.id: int(talk.id) if meld else talk.id for talk in talks}
    _dump(folder / SPEAKERS, speakers_tuple(settings, talks, everyone, key))
    ends = np.cumsum([len(talk.label) for talk in talks])[:-1]
    for modality, file in FEATURES.items():
        rows = np.split(shown[modality].feature, ends)
        _dump(folder / file, {key[t.id]: block for t, block in zip(talks, rows, strict=True)})
    names = {talk.id: [everyone[i].name for i in talk.speaker] for talk in talks}
    (folder / IDENTITIES).write_text(json.dumps(names))
    if not meld:
        (folder / DEV).write_text(json.dumps([t.id for t in talks if t.split == "dev"]))
    save_truth(folder / TRUTH, talks, everyone, speaker, shown)
    (folder / SIMULATION).write_text(settings.model_dump_json(indent=2) + "\n")
    write_contents(folder)


def speakers_tuple(
    settings: Simulation, talks: Sequence[Talk], everyone: Sequence[Person], key: dict[str, Any]
) -> tuple[Any, ...]:
    """The content of Speakers.pkl: ten entries for MELD, nine for IEMOCAP."""
    train = [key[t.id] for t in talks if t.split != "test"]
    test = [key[t.id] for t in talks if t.split == "test"]
    ids = {key[t.id]: list(t.utterance) for t in talks}
    label = {key[t.id]: t.label.tolist() for t in talks}
    if settings.benchmark == "IEMOCAP":
        letters = {key[t.id]: [everyone[i].gender for i in t.speaker] for t in talks}
        return (ids, letters, label, {}, {}, {}, {}, train, test)
    rows = {key[t.id]: one_hot(t.speaker).tolist() for t in talks}
    return (ids, rows, label, {}, {}, {}, {}, train, test, {})


def one_hot(speaker: Int[np.ndarray, "turn"]) -> Int[np.ndarray, "turn party"]:
    """MELD's speaker rows: parties numbered by first appearance."""
    order = {person: party for party, person in enumerate(dict.fromkeys(speaker.tolist()))}
    rows = np.eye(len(BUILT_IN["MELD"].roles), dtype=np.int64)
    return rows[[order[person] for person in speaker.tolist()]]


@dataclass(frozen=True)
class Truth:
    """What the generator knows: the speakers, their styles and the latent channels."""

    dialogue: tuple[str, ...]
    length: Int[np.ndarray, "dialogue"]
    name: tuple[str, ...]
    gender: tuple[str, ...]
    speaker: Int[np.ndarray, "utterance"]
    expression: dict[Modality, Expression]

    def shown(self, modality: Modality) -> Float[np.ndarray, "utterance channel"]:
        """The latent channels in the speakers' styles."""
        e = self.expression[modality]
        return e.gain[self.speaker] * e.latent + e.shift[self.speaker]


_ARRAYS = ("prototype", "latent", "gain", "shift", "loading")


def save_truth(
    file: Path,
    talks: Sequence[Talk],
    everyone: Sequence[Person],
    speaker: Int[np.ndarray, "utterance"],
    shown: dict[Modality, Expression],
) -> None:
    """Save the truth without the features, which are in the corpus itself."""
    arrays = {f"{m}_{name}": getattr(e, name) for m, e in shown.items() for name in _ARRAYS}
    np.savez(
        file,
        dialogue=np.array([talk.id for talk in talks]),
        length=np.array([len(talk.label) for talk in talks]),
        name=np.array([person.name for person in everyone]),
        gender=np.array([person.gender for person in everyone]),
        speaker=speaker,
        **arrays,
    )


def read_simulated(folder: Path) -> tuple[Corpus, Simulation]:
    """A generated corpus, as `read_corpus` reads it, and its settings.

    Raises CorpusError if the folder is not a simulated corpus.
    """
    file = folder / SIMULATION
    if not file.is_file():
        raise Place(file).error("missing, so the corpus is not simulated", "Use CORPUS=sim")
    settings = Simulation.model_validate_json(file.read_text())
    name = f"sim-{settings.benchmark.lower()}"
    return read_corpus(folder, settings.benchmark, name), settings


def read_truth(folder: Path) -> Truth:
    """The truth behind a generated corpus, with the features of its files."""
    corpus, _ = read_simulated(folder)
    by_id = {d.id: d for d in corpus.train + corpus.dev + corpus.test}
    with np.load(folder / TRUTH, allow_pickle=False) as saved:
        dialogue = tuple(saved["dialogue"].tolist())
        expression = {
            modality: Expression(
                **{name: saved[f"{modality}_{name}"] for name in _ARRAYS},
                feature=np.concatenate([by_id[key].feature[modality] for key in dialogue]),
            )
            for modality in MODALITIES
        }
        return Truth(
            dialogue=dialogue,
            length=saved["length"],
            name=tuple(saved["name"].tolist()),
            gender=tuple(saved["gender"].tolist()),
            speaker=saved["speaker"],
            expression=expression,
        )


def oracle_calibrated(folder: Path) -> Corpus:
    """The generated corpus with every speaker's style removed exactly.

    Each utterance's styled channels are replaced by its latent ones and its noise stays. These
    are the features that the same corpus has at heterogeneity 0.
    """
    corpus, _ = read_simulated(folder)
    truth = read_truth(folder)
    ends = np.cumsum(truth.length)[:-1]
    rows = {
        modality: dict(
            zip(truth.dialogue, np.split(without_style(truth, modality), ends), strict=True)
        )
        for modality in corpus.sizes
    }

    def calibrated(dialogues: Sequence[Dialogue]) -> tuple[Dialogue, ...]:
        return tuple(replace(d, feature={m: rows[m][d.id] for m in d.feature}) for d in dialogues)

    return replace(
        corpus,
        name=f"{corpus.name}, oracle-calibrated",
        train=calibrated(corpus.train),
        dev=calibrated(corpus.dev),
        test=calibrated(corpus.test),
    )


def without_style(truth: Truth, modality: Modality) -> Float[np.ndarray, "utterance feature"]:
    """The features without the speakers' styles, as float32."""
    e = truth.expression[modality]
    styled = (truth.shown(modality) - e.latent) @ e.loading
    return (e.feature - styled).astype(np.float32)


def _dump(file: Path, value: Any) -> None:
    file.write_bytes(pickle.dumps(value, protocol=4))
