"""nEMO as corpora in MultiEMO's layout: actors seen in training, and actors unseen.

nEMO has single clips, not conversations. *Sessions* of two actors taking turns, each turn a clip
drawn at random, stand in for them: nobody talks to anybody, and context carries nothing.

- seen: all nine actors are in train, dev and test, which share no sentence (62, 8 and 20 of 90).
- unseen: in each of five folds one or two actors are in test only. Dev has the training actors on
  ten sentences that train lacks. The folds cover all nine actors.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mlsan.corpus.generated import digest, generated
from mlsan.corpus.nemo.recordings import COMMIT, EMOTIONS, FEATURES, OPENSMILE, recordings
from mlsan.corpus.types import Corpus, Declaration
from mlsan.corpus.write import write_layout

SEED = 0
SEEN = "nEMO-seen"
# The places of each fold's test actors in a random order of all nine.
_HELD = ((0, 1), (2, 3), (4, 5), (6, 7), (8,))
FOLDS = {f"nEMO-unseen-{fold}": held for fold, held in enumerate(_HELD, start=1)}
PROTOCOLS = (SEEN, *FOLDS)
TURNS = (20, 25)  # of a session: at least the first, fewer than the second
NOTES = (
    "acted speech in sessions that are made up: two actors take turns with clips drawn at random, "
    "so nobody talks to anybody and context carries nothing",
    "audio only, eGeMAPS functionals standardised on train; every sentence is said in every "
    "emotion, so text would say nothing",
)


def protocol_folder(protocol: str, cache: Path) -> Path:
    """The folder of one of `PROTOCOLS` under `cache`, written first if it is missing or damaged.

    The folder above it contains a digest of the features and of the code that arranges them.
    """
    stamp = digest(Path(__file__).parent, FEATURES.read_bytes())
    return generated(cache / f"nemo-{stamp}" / protocol, partial(write_protocol, protocol))


def write_protocol(protocol: str, folder: Path) -> Corpus:
    """Arrange nEMO's clips by a protocol and write them to `folder`."""
    found = recordings()
    parts = splits(protocol)
    fold = list(FOLDS).index(protocol) if protocol in FOLDS else 0
    tables = [
        sessions(part, rows, np.random.default_rng([SEED, fold, i]))
        for i, (part, rows) in enumerate(parts.items())
    ]
    table = pd.concat(tables, ignore_index=True)
    rows = table["row"].to_numpy()
    for column in ("speaker", "emotion", "clip"):
        table[column] = getattr(found, column)[rows]
    mean, sd = scaling(protocol)
    audio = ((found.features - mean) / sd).astype(np.float32)[rows]
    return write_layout(
        folder,
        Declaration(name=protocol, emotions=EMOTIONS, roles=("first", "second")),
        table.rename(columns={"clip": "utterance"}),
        {"audio": audio},
        {"source": f"nEMO at {COMMIT}", "audio": f"eGeMAPSv02 functionals, opensmile {OPENSMILE}"},
    )


def splits(protocol: str) -> dict[str, Bool[np.ndarray, "utterance"]]:
    """Which clips are train, dev and test. Raises ValueError for an unknown protocol."""
    found = recordings()
    generator = np.random.default_rng([SEED, 7])
    # Sentences in the order of their names as text, which the permutation was drawn for.
    sentences = generator.permutation(np.unique(found.sentence.astype(str))).astype(int)
    actors = generator.permutation(np.unique(found.speaker))
    if protocol == SEEN:
        ends = np.split(sentences, [62, 70])
        return {
            part: np.isin(found.sentence, said)
            for part, said in zip(("train", "dev", "test"), ends, strict=True)
        }
    if protocol not in FOLDS:
        raise ValueError(f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")
    held = np.isin(found.speaker, actors[list(FOLDS[protocol])])
    dev = np.isin(found.sentence, sentences[:10])
    return {"train": ~held & ~dev, "dev": ~held & dev, "test": held}


def scaling(
    protocol: str,
) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature"]]:
    """Mean and standard deviation of each feature over the training clips, in its own unit.

    A protocol's features are (x - mean) / sd.
    """
    x = recordings().features[splits(protocol)["train"]]
    sd = x.std(axis=0)
    return x.mean(axis=0), np.where(sd > 1e-8, sd, 1)


def sessions(
    part: str, chosen: Bool[np.ndarray, "utterance"], generator: np.random.Generator
) -> pd.DataFrame:
    """Sessions of two actors until every chosen clip is used once: dialogue, split and row.

    Actors with more clips left are drawn more often, so that the last sessions still have two
    actors where there are two. Within a session, whose turn it is is drawn at random.
    """
    speaker = recordings().speaker
    left: dict[str, list[int]] = {
        actor: generator.permutation(np.flatnonzero(chosen & (speaker == actor))).tolist()
        for actor in np.unique(speaker[chosen]).tolist()
    }
    found: list[tuple[str, str, int]] = []
    number = 0
    while waiting := [actor for actor, clips in left.items() if clips]:
        share = np.array([len(left[actor]) for actor in waiting], float)
        both = min(2, len(waiting))
        pair = generator.choice(waiting, both, replace=False, p=share / share.sum()).tolist()
        for _ in range(generator.integers(*TURNS)):
            able = [actor for actor in pair if left[actor]]
            if not able:
                break
            row = left[able[generator.integers(len(able))]].pop()
            found.append((f"{part}{number}", part, row))
        number += 1
    return pd.DataFrame(found, columns=["dialogue", "split", "row"])
