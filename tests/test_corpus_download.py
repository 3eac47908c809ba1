"""Downloads against a server on this machine that is slow, cut off, wrong or gone."""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.progress import Progress
from test_corpus_transcripts import HEADER, ROWS
from test_corpus_transcripts import write as write_transcripts

from mlsan.__main__ import main
from mlsan.corpus.fetch import download as fetching
from mlsan.corpus.fetch import obtain, published
from mlsan.corpus.fetch.download import (
    Bar,
    DownloadError,
    Patience,
    content_digest,
    download,
    open_part,
)
from mlsan.corpus.fetch.published import add_identities, fetch_transcripts
from mlsan.corpus.transcripts import FILES
from mlsan.files import UnwritableError, sha256

CONTENT = bytes(range(256)) * 4000  # about a megabyte
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
KNOWN = {"MELD/x.pkl": f"git-blob:{BLOB}"}
HASTE = Patience(window=0.3, least=5000, retries=2, pause=0.01, total=9.0)


OK, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n"
BLOCK = bytes(1 << 16)
# Answers that never end: how they begin, what then comes again and again, and seconds between.
RAW = {
    "endless": (OK + b"\r\n", BLOCK, 0),
    "endless chunks": (OK + CHUNKED + b"\r\n", b"10000\r\n" + BLOCK + b"\r\n", 0),
    "endless more than announced": (OK + b"Content-Length: 10\r\n\r\n", BLOCK, 0),
    "endless as announced": (OK + b"Content-Length: %d\r\n\r\n" % 10**15, BLOCK, 0),
    "endless header": (OK, b"X: " + b"z" * 1000 + b"\r\n", 0),
    "endless line": (OK + b"X: ", BLOCK.replace(b"\0", b"z"), 0),
    "slow content": (OK + b"Content-Length: %d\r\n\r\n" % len(CONTENT), CONTENT[:1], 0.02),
    "slow header": (OK, b"z", 0.02),
    "slow chunk size": (OK + CHUNKED + b"\r\n", b"0", 0.02),
    "slow trailer": (OK + CHUNKED + b"\r\n0\r\n", b"z: z\r\n", 0.02),
    "silence": (b"", b"", 0.02),
}


@dataclass
class Server:
    """What the server has and how it misbehaves, one entry of `faults` per GET."""

    files: dict[str, bytes]
    faults: list[str] = field(default_factory=list)
    ranges: bool = True
    asked: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server({"/MELD/x.pkl": CONTENT})
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def raw(self, head: bytes, part: bytes, pause: float) -> None:
            """Send `head`, and `part` without end."""
            with suppress(OSError):
                self.wfile.write(head)
                while not stopped.wait(pause):
                    self.wfile.write(part)

        def do_GET(self) -> None:
            state.asked.append((self.path, self.headers.get("Range", "")))
            fault = state.faults.pop(0) if state.faults else ""
            content = state.files.get(self.path)
            if content is None or fault.isdecimal():
                self.send_error(int(fault or 404))
                return
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(wanted[1]) if wanted and state.ranges else 0
            if start >= len(content):
                self.send_error(416)
                return
            if fault in RAW:
                self.raw(*RAW[fault])
                return
            self.send_response(206 if start else 200)
            if start:
                total = len(content)
                self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
            content = content[start:]
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if fault == "cut":
                content = content[: len(content) // 2]
            if fault == "cut short":
                content = content[:10]
            if fault == "slow":
                self.wfile.write(content[:1000])
                time.sleep(1)
                return
            self.wfile.write(content)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/"
    yield state
    stopped.set()
    http.shutdown()
    thread.join()
    http.server_close()


def bring(folder: Path, server: Server, bars: Progress | None = None) -> list[str]:
    return download(server.url, folder, KNOWN, bars, HASTE)


def there(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")


def test_digests_are_gits_and_sha256(tmp_path):
    content = b"test content\n"
    (tmp_path / "x").write_bytes(content)
    blob = "git-blob:d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    assert content_digest(tmp_path / "x", "git-blob:") == blob
    assert content_digest(tmp_path / "x", "sha256:") == f"sha256:{sha256(content)}"


def test_a_file_comes_whole_and_with_progress(tmp_path, server):
    bars = Progress(disable=True)
    assert bring(tmp_path, server, bars) == ["MELD/x.pkl"]
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT
    assert there(tmp_path) == ["x.pkl"]
    (bar,) = bars.tasks
    assert (bar.description, bar.completed, bar.total) == ("MELD/x.pkl", len(CONTENT), len(CONTENT))


def test_what_is_there_is_accepted_and_not_asked_for(tmp_path, server):
    (tmp_path / "MELD").mkdir()
    (tmp_path / "MELD/x.pkl").write_bytes(CONTENT)
    assert bring(tmp_path, server) == []
    assert server.asked == []


@pytest.mark.parametrize("fault", ["cut", "slow", "503", "429"])
def test_a_temporary_fault_is_retried(tmp_path, server, fault):
    server.faults = [fault]
    bring(tmp_path, server)
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_an_interrupted_file_is_resumed_by_the_next_run(tmp_path, server):
    (tmp_path / "MELD").mkdir()
    (tmp_path / "MELD/x.pkl.part").write_bytes(CONTENT[:300_000])
    bars = Progress(disable=True)
    bring(tmp_path, server, bars)
    assert server.asked == [("/MELD/x.pkl", "bytes=300000-")]
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT
    assert there(tmp_path) == ["x.pkl"]
    assert (bars.tasks[0].completed, bars.tasks[0].total) == (len(CONTENT), len(CONTENT))


def test_a_stopped_download_keeps_what_came_and_resumes(tmp_path, server, monkeypatch):
    def stop(bar, count):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "update", stop)
        with pytest.raises(KeyboardInterrupt):
            bring(tmp_path, server)
    assert there(tmp_path) == ["x.pkl.part"]
    kept = (tmp_path / "MELD/x.pkl.part").read_bytes()
    assert kept == CONTENT[: len(kept)] != b""
    bring(tmp_path, server)
    assert server.asked == [("/MELD/x.pkl", ""), ("/MELD/x.pkl", f"bytes={len(kept)}-")]
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT


def test_a_partial_file_that_is_complete_needs_no_server(tmp_path):
    (tmp_path / "MELD").mkdir()
    (tmp_path / "MELD/x.pkl.part").write_bytes(CONTENT)
    assert download("http://127.0.0.1:9/", tmp_path, KNOWN, patience=HASTE) == ["MELD/x.pkl"]
    assert there(tmp_path) == ["x.pkl"]


@pytest.mark.parametrize("extra", [0, 10])
def test_a_partial_file_as_long_as_the_file_and_wrong_starts_again(tmp_path, server, extra):
    (tmp_path / "MELD").mkdir()
    (tmp_path / "MELD/x.pkl.part").write_bytes(b"z" * (len(CONTENT) + extra))
    bring(tmp_path, server)
    assert [asked for _, asked in server.asked] == [f"bytes={len(CONTENT) + extra}-", ""]
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT
    assert there(tmp_path) == ["x.pkl"]


def test_a_server_without_ranges_gives_it_all_again(tmp_path, server):
    server.ranges = False
    (tmp_path / "MELD").mkdir()
    (tmp_path / "MELD/x.pkl.part").write_bytes(b"z" * 300_000)
    bring(tmp_path, server)
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT


def test_lasting_cuts_give_up_and_keep_what_came(tmp_path, server):
    server.faults = ["503"] * 10
    (tmp_path / "MELD").mkdir()
    (tmp_path / "MELD/x.pkl.part").write_bytes(CONTENT[:1000])
    with pytest.raises(DownloadError, match=r"gave up after 3 failed attempts .*503"):
        bring(tmp_path, server)
    assert there(tmp_path) == ["x.pkl.part"]
    assert (tmp_path / "MELD/x.pkl.part").stat().st_size == 1000


def test_failures_with_progress_between_them_do_not_add_up(tmp_path, server):
    server.faults = ["cut"] * 6  # more than HASTE.retries
    bring(tmp_path, server)
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT


def test_an_altered_file_is_set_aside_and_named(tmp_path, server):
    server.files["/MELD/x.pkl"] = CONTENT[:-1] + b"!"
    for expected in (["x.pkl.rejected"], ["x.pkl.rejected", "x.pkl.rejected1"]):
        with pytest.raises(
            DownloadError, match=r"/x\.pkl: not the published file .*x\.pkl\.rejected"
        ):
            bring(tmp_path, server)
        assert there(tmp_path) == expected
    server.files["/MELD/x.pkl"] = CONTENT
    bring(tmp_path, server)
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT


def test_a_placed_file_that_is_wrong_is_set_aside_and_fetched(tmp_path, server):
    (tmp_path / "MELD").mkdir()
    (tmp_path / "MELD/x.pkl").write_bytes(b"version https://git-lfs")
    assert bring(tmp_path, server) == ["MELD/x.pkl"]
    assert there(tmp_path) == ["x.pkl", "x.pkl.rejected"]


def test_a_missing_file_is_named_at_once(tmp_path, server):
    server.files.clear()
    with pytest.raises(DownloadError, match=r"/MELD/x\.pkl: the server answered 404"):
        bring(tmp_path, server)
    assert there(tmp_path) == []


def test_a_server_that_does_not_answer_is_named(tmp_path, server):
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1:9/MELD/x\.pkl: gave up after 3 failed"):
        download("http://127.0.0.1:9/", tmp_path, KNOWN, patience=HASTE)
    assert there(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_says_so_and_keeps_the_folder_clean(tmp_path, server, monkeypatch):
    monkeypatch.setattr(fetching, "open_part", lambda part: open_part(Path("/dev/full")))
    with pytest.raises(UnwritableError, match=r"No space left.*Free disk space.*run the same"):
        bring(tmp_path, server)
    assert not (tmp_path / "MELD/x.pkl").exists()
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", [fault for fault in RAW if fault.startswith("endless")])
def test_a_server_that_never_stops_fills_no_disk(tmp_path, server, monkeypatch, fault):
    monkeypatch.setattr(fetching, "LARGEST", 3 * len(CONTENT))
    server.faults = [fault] * 9
    match = {
        "endless more than announced": "not the published file",
        "endless header": "gave up after 3 failed",
        "endless line": "gave up after 3 failed",
    }.get(fault, "sends more than 3,072,000 bytes")
    with pytest.raises(DownloadError, match=f"/x.pkl: .*{match}") as raised:
        bring(tmp_path, server)
    assert len(str(raised.value)) < 1000
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 10_000
    assert not (tmp_path / "MELD/x.pkl").exists()


@pytest.mark.parametrize("fault", [fault for fault in RAW if not fault.startswith("endless")])
def test_a_slow_server_is_given_up_and_what_came_is_kept(tmp_path, server, fault):
    server.faults = [fault] * 9
    server.ranges = False
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"gave up after 3 .* bytes arrived in 0\.3 s\)\. What"):
        bring(tmp_path, server)
    assert time.monotonic() - began < 3
    assert [name for name in there(tmp_path) if name != "x.pkl.part"] == []
    assert (fault == "slow content") == (there(tmp_path) == ["x.pkl.part"])
    server.faults.clear()
    bring(tmp_path, server)
    assert (tmp_path / "MELD/x.pkl").read_bytes() == CONTENT


def test_progress_does_not_prolong_a_download_for_ever(tmp_path, server):
    server.faults = ["cut"] * 99
    haste = replace(HASTE, pause=0.1, total=0.3)
    server.files["/MELD/x.pkl"] = CONTENT * 20
    with pytest.raises(DownloadError, match=r"gave up after 0\.3 s .* run the same command again"):
        download(server.url, tmp_path, KNOWN, patience=haste)
    assert len(server.asked) < 9


def test_cuts_after_a_few_bytes_are_failures(tmp_path, server):
    server.faults = ["cut short"] * 20
    with pytest.raises(DownloadError, match="gave up after 3 failed attempts"):
        bring(tmp_path, server)
    assert (tmp_path / "MELD/x.pkl.part").stat().st_size == 30


@pytest.mark.parametrize("part", [b"", CONTENT[:1000]])
def test_no_range_at_all_is_one_error(tmp_path, server, part):
    server.faults = ["416"] * 9
    (tmp_path / "MELD").mkdir()
    if part:
        (tmp_path / "MELD/x.pkl.part").write_bytes(part)
    with pytest.raises(DownloadError, match=r"/MELD/x\.pkl: the server answered 416"):
        bring(tmp_path, server)
    assert len(server.asked) == 1 + bool(part)
    assert there(tmp_path) == []


@pytest.mark.parametrize("name", ["", "MELD", ".download.lock"])
def test_what_is_in_the_place_of_a_folder_or_lock_is_named_and_left(tmp_path, server, name):
    path = tmp_path / "data" / name
    path.parent.mkdir(exist_ok=True)
    outside = tmp_path / "precious"
    outside.write_bytes(b"precious")
    path.symlink_to(outside)
    with pytest.raises(DownloadError, match=f"{re.escape(str(path))}: is in the way"):
        bring(tmp_path / "data", server)
    assert server.asked == []
    assert outside.read_bytes() == b"precious"


def test_only_get_is_asked(tmp_path, server):
    """The server refuses every other method."""
    assert bring(tmp_path, server, Progress(disable=True)) == ["MELD/x.pkl"]
    assert [path for path, _ in server.asked] == ["/MELD/x.pkl"]


@pytest.mark.parametrize("name", ["x.pkl", "x.pkl.part"])
@pytest.mark.parametrize("kind", ["folder", "link", "dangling", "endless", "pipe"])
def test_what_is_in_the_way_is_named_and_left(tmp_path, server, name, kind):
    outside = tmp_path / "precious"
    outside.write_bytes(b"precious")
    path = tmp_path / "data/MELD" / name
    path.parent.mkdir(parents=True)
    {
        "folder": lambda: path.mkdir(),
        "link": lambda: path.symlink_to(outside),
        "dangling": lambda: path.symlink_to(tmp_path / "new"),
        "endless": lambda: path.symlink_to(path),
        "pipe": lambda: os.mkfifo(path),
    }[kind]()
    with pytest.raises(DownloadError, match=f"{re.escape(str(path))}: is in the way"):
        bring(tmp_path / "data", server)
    assert server.asked == []
    assert [file.name for file in path.parent.iterdir()] == [name]
    assert outside.read_bytes() == b"precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "precious"]


def test_transcripts_come_verified_and_give_names(tmp_path, server):
    server.files = {f"/{FILES[s]}": (HEADER + rows).encode() for s, rows in ROWS.items()}
    digests = {s: sha256(server.files[f"/{file}"]) for s, file in FILES.items()}
    add_identities(tmp_path, server.url, digests)
    names = json.loads((tmp_path / "MELD/identities.json").read_text())
    assert names["0"] == ["Monica", "Monica", ""]
    assert len(server.asked) == 3
    add_identities(tmp_path, server.url, digests)
    assert len(server.asked) == 3
    (tmp_path / "transcripts" / FILES["dev"]).write_text("spoiled")
    fetch_transcripts(tmp_path, server.url, digests)
    assert (tmp_path / "transcripts" / f"{FILES['dev']}.rejected").read_text() == "spoiled"
    assert (tmp_path / "transcripts" / FILES["dev"]).read_bytes() == server.files[
        f"/{FILES['dev']}"
    ]


def test_altered_transcripts_are_refused(tmp_path, server):
    server.files = {f"/{file}": b"altered" for file in FILES.values()}
    with pytest.raises(DownloadError, match=r"train_sent_emo\.csv: not the pub.* set DATA to it\."):
        fetch_transcripts(tmp_path, server.url)
    assert there(tmp_path) == ["train_sent_emo.csv.rejected"]


def test_placed_transcripts_need_no_server(tmp_path):
    digests = write_transcripts(tmp_path / "transcripts")
    add_identities(tmp_path, "http://127.0.0.1:9/", digests)
    assert (tmp_path / "MELD/identities.json").exists()


def test_the_command_downloads_and_shows_progress(tmp_path, server, monkeypatch, capsys):
    monkeypatch.setattr(published, "BLOBS", KNOWN)
    monkeypatch.setattr(obtain, "add_identities", lambda folder: None)
    monkeypatch.setattr(obtain, "read_any", lambda folder: {})
    command = ["data", "--corpus", "multiemo", "--data", str(tmp_path), "--url", server.url]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "MELD/x.pkl" in said
    assert "1.0/1.0 MB" in said
    assert f"make paper CORPUS=multiemo DATA={tmp_path}" in said
    server.files.clear()
    assert main([*command[:-1], server.url]) == 0
    (tmp_path / "MELD/x.pkl").unlink()
    assert main(command) == 2
    assert "make data: http://127.0.0.1" in capsys.readouterr().err
