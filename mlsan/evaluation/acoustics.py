"""What a clip of speech looks like: mel spectrogram, pitch and sound level over time."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import median_filter
from scipy.signal import stft

HOP = 0.01  # seconds between frames
LOWEST, HIGHEST = 70.0, 500.0  # Hz, the pitch of speech
VOICED = 0.6  # least autocorrelation of a voiced frame
OCTAVE_COST = 0.02  # of autocorrelation, for a pitch an octave lower
QUIET = 35.0  # dB below the loudest frame: not voiced


class Contour(NamedTuple):
    """Time (s), pitch (Hz, NaN where nothing is voiced) and level (dB, full scale 0) by frame."""

    time: Float[np.ndarray, "frame"]
    pitch: Float[np.ndarray, "frame"]
    level: Float[np.ndarray, "frame"]


def mel_spectrogram(
    samples: Float[np.ndarray, "sample"], rate: int, bands: int = 64
) -> Float[np.ndarray, "band frame"]:
    """Power (dB) in triangular bands that are equally wide on the mel scale, frames `HOP` apart.

    The bands reach from 50 Hz to half the rate, mel(f) = 2595 log10(1 + f / 700).
    """
    hop, window = round(HOP * rate), round(0.025 * rate)
    frequency, _, spectrum = stft(
        samples, rate, nperseg=window, noverlap=window - hop, nfft=2048, boundary="zeros"
    )
    edges = mel_edges(rate, bands)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    weight = np.clip(np.minimum(rising, falling), 0, None)
    return 10 * np.log10(weight @ np.abs(spectrum) ** 2 + 1e-12)


def mel_edges(rate: int, bands: int) -> Float[np.ndarray, "edge"]:
    """Edges and centres of the mel bands in Hz: band i lies between edges i and i + 2."""
    mel = 2595 * np.log10(1 + np.array([50, rate / 2]) / 700)
    return 700 * (10 ** (np.linspace(*mel, bands + 2) / 2595) - 1)


def contour(samples: Float[np.ndarray, "sample"], rate: int) -> Contour:
    """Pitch and level of a clip, frame by frame.

    The pitch is where the normalised autocorrelation of a frame of 40 ms is largest (Boersma 1993,
    without his search for a path), smoothed by a median over five frames.
    """
    size, hop = round(0.04 * rate), round(HOP * rate)
    padded = np.pad(samples.astype(float), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    power = np.mean(frames**2, axis=1)
    level = 10 * np.log10(power + 1e-12)
    away = (frames - frames.mean(axis=1, keepdims=True)) * np.hanning(size)
    lags = np.arange(int(rate / HIGHEST), int(rate / LOWEST) + 1)
    (own, found), (own_window, window) = (
        (x[:, :1], x[:, lags]) for x in map(_autocorrelation, (away, np.hanning(size)[None]))
    )
    # A windowed frame's autocorrelation falls with the lag; dividing by the window's undoes that.
    normalised = found / np.maximum(own, 1e-12) * own_window / window
    # Two periods repeat as well as one: of equals the shorter lag wins.
    best = (normalised - OCTAVE_COST * np.log2(lags)).argmax(axis=1)
    strength = normalised[np.arange(len(frames)), best]
    voiced = (strength > VOICED) & (level > level.max() - QUIET)
    pitch = median_filter(rate / lags[best], 5)
    return Contour(np.arange(len(frames)) * HOP, np.where(voiced, pitch, np.nan), level)


def _autocorrelation(x: Float[np.ndarray, "frame sample"]) -> Float[np.ndarray, "frame sample"]:
    size = x.shape[1]
    spectrum = np.fft.rfft(x, 2 * size)
    return np.fft.irfft(np.abs(spectrum) ** 2)[:, :size]
