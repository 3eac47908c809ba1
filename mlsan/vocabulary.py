"""The words that every module shares: modalities, benchmarks, speakers.

- **utterance**: what one person says in one **turn**; a **dialogue** is a sequence of turns.
- **modality**: text, audio or visual; each has one feature vector per utterance.
- **speaker**: the person who speaks. **Identity** is the speaker's name across dialogues.
- **role**: the speaker's place within one dialogue (MELD: order of appearance; IEMOCAP: M, F).
  The files call it *party*, and so does the code that reads them.
- **unknown speaker**: one shared entry, `UNKNOWN`, for everyone without an identity in training.
- **benchmark**: the name under which a corpus declares its emotions and roles: MELD, IEMOCAP, or
  the name of a corpus of your own.
"""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Modality = Literal["text", "audio", "visual"]
Benchmark = str  # the name in a corpus's declaration
SpeakerKind = Literal["identity", "role", "shuffled", "constant"]
Profile = Literal["smoke", "small", "paper"]

MODALITIES: tuple[Modality, ...] = get_args(Modality)
# The paper's, whose declarations are built in and which can be simulated.
BENCHMARKS: tuple[Benchmark, ...] = ("MELD", "IEMOCAP")
PROFILES: tuple[Profile, ...] = get_args(Profile)

# Code of the unknown speaker, and the first row of every speaker table.
UNKNOWN = 0


class Frozen(BaseModel):
    """A settings object that cannot change and rejects fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
