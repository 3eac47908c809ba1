"""The dev split: which training dialogues are held out to choose the epoch."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlsan.corpus import validate
from mlsan.corpus.errors import Place
from mlsan.vocabulary import Benchmark

# MELD's dev dialogues in the published files, if the utterance ids do not say.
_MELD_DEV = set(map(str, range(1039, 1153)))
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
    benchmark: Benchmark,
) -> tuple[set[str], str | None]:
    """The dev dialogues among `train`, and a note if they had to be drawn at random.

    They are the usual ones of MELD and IEMOCAP, else a fixed random choice. (A run with
    `dev="random"` draws its own by its seed.) Raises CorpusError if nothing would be left to train
    on.
    """
    found: set[str] = set()
    if benchmark == "MELD":
        found = meld_dev(train, utterances)
    elif benchmark == "IEMOCAP":
        found = _IEMOCAP_DEV & set(train)
    return (found, None) if found and found != set(train) else random_dev(place, train)


def listed_dev(place: Place, train: list[str], listed: Any) -> set[str]:
    """The dialogues of dev.json, whose content is `listed`.

    Raises CorpusError if it lists other dialogues than those of `train`, or all of them.
    """
    known = set(train)
    found = set(validate.split(place, listed, known, "dev", "is not a training dialogue"))
    if found == known:
        problem = "the file lists every training dialogue"
        raise place.error(problem, "Leave some of them to train on")
    return found


def meld_dev(train: list[str], utterances: Mapping[str, list[Any]]) -> set[str]:
    """MELD's own dev split, by its utterance ids or else by the published dialogue ids."""
    named = {key for key in train if str(utterances[key][0]).startswith("dev_")}
    return named or _MELD_DEV & set(train)


def random_dev(place: Place, train: list[str]) -> tuple[set[str], str]:
    """A fixed random 5 % of the training dialogues, as in the published code."""
    if len(train) < 2:
        problem = f"the train split has {len(train)} dialogue and no dev split can be taken from it"
        raise place.error(problem, "Give at least two training dialogues")
    count = max(1, round(_RANDOM_SHARE * len(train)))
    generator = np.random.default_rng(_RANDOM_SEED)
    chosen = generator.choice(sorted(train), size=count, replace=False)
    note = f"dev: {count} of {len(train)} training dialogues, at random"
    return {str(key) for key in chosen}, note
