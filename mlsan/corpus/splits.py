"""Which training dialogues are held out to choose the epoch: the dev split."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlsan.corpus import validate
from mlsan.corpus.errors import CorpusError, Place
from mlsan.vocabulary import Benchmark

# MELD's dev dialogues in the published files, where the utterance ids do not tell.
_MELD_DEV = range(1039, 1153)
# IEMOCAP has no official dev split; this is one in common use.
_IEMOCAP_DEV = {
    "Ses01M_impro01",
    "Ses01M_script03_1",
    "Ses02F_impro02",
    "Ses02F_impro07",
    "Ses02M_script01_2",
    "Ses03F_impro01",
    "Ses03M_impro02",
    "Ses03M_impro08a",
    "Ses03M_script02_2",
    "Ses03M_script03_2",
    "Ses04F_impro07",
    "Ses04F_script02_1",
}
_RANDOM_SHARE = 0.05
_RANDOM_SEED = 2023


def choose_dev(
    place: Place,
    train: list[str],
    utterances: Mapping[str, list[Any]],
    listed: Any,
    benchmark: Benchmark,
) -> tuple[set[str], str | None]:
    """The dev dialogues among `train`, and a note where nothing says which they are.

    Then they are a fixed random choice. (A run with `dev="random"` draws anew by its seed.)
    `listed` is the content of the sidecar dev.json at `place`, None where there is none.
    Raises CorpusError where the sidecar names other dialogues or nothing would be left to train.
    """
    if listed is not None:
        return listed_dev(place, train, listed), None
    found = meld_dev(train, utterances) if benchmark == "MELD" else _IEMOCAP_DEV & set(train)
    return (found, None) if found and found != set(train) else random_dev(train)


def listed_dev(place: Place, train: list[str], listed: Any) -> set[str]:
    """The sidecar's dialogues."""
    found = set(validate.split(place, listed, train, "dev", "is not a training dialogue"))
    if found == set(train):
        raise place.error("lists every training dialogue", "Leave some of them to train on")
    return found


def meld_dev(train: list[str], utterances: Mapping[str, list[Any]]) -> set[str]:
    """MELD's own dev split, by the names of its utterances or else by the published keys."""
    named = {key for key in train if str(utterances[key][0]).startswith("dev_")}
    return named or {key for key in train if key.isdecimal() and int(key) in _MELD_DEV}


def random_dev(train: list[str]) -> tuple[set[str], str]:
    """A fixed random 5 % of the training dialogues, as the published code does."""
    if len(train) < 2:
        raise CorpusError("one training dialogue cannot be split. Give at least two.")
    count = max(1, round(_RANDOM_SHARE * len(train)))
    generator = np.random.default_rng(_RANDOM_SEED)
    chosen = generator.choice(sorted(train), size=count, replace=False)
    return {str(key) for key in chosen}, f"dev: a random {count} of {len(train)} train dialogues"
