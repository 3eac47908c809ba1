"""Files are whole or absent, and damage is noticed."""

import errno
import os

import pytest

from mlsan import files
from mlsan.files import (
    TornFileError,
    check_contents,
    read_record,
    read_sealed,
    replace_folder,
    write_atomically,
    write_contents,
    write_record,
    write_sealed,
)


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


@pytest.mark.parametrize("content", [{}, {"a": [1.5, None, {"b": "ä"}], "c": float("inf")}])
def test_a_record_comes_back(tmp_path, content):
    write_record(tmp_path / "a.json", content)
    assert read_record(tmp_path / "a.json") == content


def test_a_changed_record_is_named(tmp_path):
    path = tmp_path / "a.json"
    write_record(path, {"score": 41.5})
    whole = path.read_text()
    for changed in (whole.replace("41.5", "91.5"), whole[:-3], "{}", "[]", "[" * 100_000, "\0"):
        path.write_text(changed)
        with pytest.raises(TornFileError, match=r"a\.json is torn, altered or was not written"):
            read_record(path)


def test_a_record_is_read_from_a_regular_file_only(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "link")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "link", "zero"):
        with pytest.raises(TornFileError, match=f"{name} is not a regular file"):
            read_record(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_record(tmp_path / "nothing")


def test_the_contents_of_a_folder_are_checked(tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    with pytest.raises(TornFileError, match=r"contents\.json is missing"):
        check_contents(tmp_path)
    write_contents(tmp_path)
    assert check_contents(tmp_path) == {"a", "b", "contents.json"}
    (tmp_path / "b").write_bytes(b"twp")
    with pytest.raises(TornFileError, match="b has been altered"):
        check_contents(tmp_path)
    (tmp_path / "b").unlink()
    with pytest.raises(TornFileError, match="b is missing"):
        check_contents(tmp_path)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced(tmp_path, monkeypatch, exchanges):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    if not exchanges:
        monkeypatch.setattr(files, "_exchange", refuse)
    for content in ("one", "two"):
        new = tmp_path / f"new {content}"
        new.mkdir()
        (new / content).touch()
        replace_folder(new, tmp_path / "folder")
        assert [path.name for path in (tmp_path / "folder").iterdir()] == [content]
    (old,) = tmp_path.glob("new*/one")
    assert old.parent.name == ("new two" if exchanges else "new two.old")
