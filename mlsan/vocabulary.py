"""The words that every module shares: modalities, benchmarks, emotions, speakers.

- **utterance**: what one person says in one **turn**; a **dialogue** is a sequence of turns.
- **modality**: text, audio or visual; each has one feature vector per utterance.
- **speaker**: the person who speaks. **Identity** is the speaker's name across dialogues.
- **role**: the speaker's place within one dialogue (MELD: order of appearance; IEMOCAP: M, F).
  The files call it *party*, and so does the code that reads them.
- **unknown speaker**: one shared entry, `UNKNOWN`, for everyone without an identity in training.
- **benchmark**: MELD or IEMOCAP, whose conventions (emotions, roles) a corpus follows.
"""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Modality = Literal["text", "audio", "visual"]
Benchmark = Literal["MELD", "IEMOCAP"]
SpeakerKind = Literal["identity", "role", "shuffled", "constant"]
Profile = Literal["smoke", "small", "paper"]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
BENCHMARKS: tuple[Benchmark, ...] = get_args(Benchmark)
PROFILES: tuple[Profile, ...] = get_args(Profile)

# Code of the unknown speaker, and the first row of every speaker table.
UNKNOWN = 0

# Label order of the published feature files.
EMOTIONS: dict[Benchmark, tuple[str, ...]] = {
    "MELD": ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),
    "IEMOCAP": ("happy", "sad", "neutral", "angry", "excited", "frustrated"),
}
# Columns of the one-hot party rows: MELD's order of first appearance, IEMOCAP's M and F.
PARTIES: dict[Benchmark, int] = {"MELD": 9, "IEMOCAP": 2}


class Frozen(BaseModel):
    """A settings object that cannot change and rejects fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
