"""Clips of speech: mono WAV files with 16-bit samples."""

import io
import wave
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mlsan.corpus.errors import Place
from mlsan.corpus.regular import open_regular, read_whole

LARGEST = 64 << 20  # bytes of a clip
_FIX = "Export the clip as mono WAV with 16-bit samples"


def read_clip(file: Path) -> tuple[Float[np.ndarray, "sample"], int]:
    """The samples of a clip, from -1 to 1, and their rate in Hz.

    Raises CorpusError for what is not a whole mono WAV file with 16-bit samples.
    """
    place = Place(file)
    with open_regular(file, LARGEST) as stream:
        content = read_whole(file, stream)
    try:
        with wave.open(io.BytesIO(content)) as clip:
            channels, width, rate, count, *_ = clip.getparams()
            data = clip.readframes(count)
    except (wave.Error, EOFError) as error:
        problem = str(error) or "it ends within its header"
        raise place.error(f"not a WAV file that can be read ({problem})", _FIX) from error
    if channels != 1:
        raise place.error(f"it has {channels} channels", _FIX)
    if width != 2:
        raise place.error(f"its samples have {8 * width} bits", _FIX)
    if count == 0:
        raise place.error("it has 0 samples", "Record the clip again or leave it out")
    if len(data) < width * count:
        found = len(data) // width
        problem = f"it is truncated: {found:,} of {count:,} samples are there"
        raise place.error(problem, "Copy the file again")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768, rate
