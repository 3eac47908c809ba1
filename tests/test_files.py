"""Files are whole or absent, and damage is noticed."""

import errno
import os

import pytest

from mlsan.files import TornFileError, read_sealed, write_atomically, write_sealed


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    write_atomically(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*metrics\.csv: No space left .* Free disk"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_a_path_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/inside"):
        write_atomically(tmp_path / "file" / "inside", "text")


def test_a_sealed_file_comes_back_whole(tmp_path):
    write_sealed(tmp_path / "a.pt", b"content")
    assert read_sealed(tmp_path / "a.pt") == b"content"


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[:10],
        lambda raw: b"",
        lambda raw: raw[:-1] + b"?",
        lambda raw: b"PK" + raw,
    ],
    ids=["cut", "cut in the seal", "empty", "altered", "foreign"],
)
def test_a_damaged_sealed_file_is_named(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    write_sealed(path, b"content")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(TornFileError, match=r"checkpoint\.pt is torn"):
        read_sealed(path)
