"""Downloads from a real HTTP server on this machine, which obeys, dawdles, breaks off, lies and fails as told."""

import dataclasses
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Never

import huggingface_hub.constants as hub
import pytest

from seedwise.base.errors import Interrupted, UserError
from seedwise.base.hub import bar as hub_bar
from seedwise.data import cifar, published
from seedwise.data.config import DataConfig
from seedwise.data.download import Wanted, fetch
from seedwise.data.find import find_source
from seedwise.data.open import open_data

CONTENT = os.urandom(400_000)
MD5 = hashlib.md5(CONTENT).hexdigest()
CHUNK = 20_000


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.requests, self.content = [], CONTENT
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, way: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{way}/file.tar.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    """The first folder of the path says how to answer."""

    def log_message(self, *_: int | str) -> None:
        pass

    def do_GET(self) -> None:
        way, wanted = self.path.split("/")[1], self.headers.get("Range")
        self.server.requests.append((way, wanted))  # type: ignore[attr-defined]
        if way.isdigit():
            self.send_error(int(way))
        elif way == "redirect":
            self.send_response(302)
            self.send_header("Location", "/good/file.tar.gz")
            self.end_headers()
        else:
            self.send_file(way, wanted)

    def send_file(self, way: str, wanted: str | None) -> None:
        content = self.server.content  # type: ignore[attr-defined]
        start = int(wanted[6:-1]) if wanted and way != "ignorant" else 0
        body = {"liar": content[::-1], "short": content[:-1], "long": content + b"x" * 10}.get(way, content)[start:]
        if way == "shifted" and wanted:
            body = body[7:] + b"x" * 7
        self.send_response(206 if wanted and way != "ignorant" else 200)
        if wanted and way != "ignorant":
            first = start + 7 if way == "shifted" else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if way not in ("endless", "long"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.send_body(way, body)

    def send_body(self, way: str, body: bytes) -> None:
        if way == "endless":
            while True:
                self.wfile.write(body)
        if way == "breaks":
            body = body[:150_000]
        if way == "stalls":
            self.wfile.write(body[:1000])
            self.wfile.flush()
            time.sleep(2)
            return
        pieces = [body[at : at + 20_000] for at in range(0, len(body), 20_000)]
        for piece in pieces:
            self.wfile.write(piece)
            if way == "slow":
                time.sleep(0.06)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up on purpose
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _impatient_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "DOWNLOAD_CHUNK_SIZE", CHUNK)
    monkeypatch.setattr(hub, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr("huggingface_hub.file_download.time", types.SimpleNamespace(sleep=lambda seconds: None))


@pytest.fixture
def wanted(tmp_path: Path) -> Wanted:
    return Wanted("cifar100", tmp_path / "file.tar.gz", len(CONTENT), MD5)


def get(wanted: Wanted, server: Server, *ways: str, report: Callable[..., Any] = lambda *_: None) -> list[str]:
    fetch(wanted, [server.url(way) for way in ways], report)
    assert wanted.file.read_bytes() == CONTENT and not wanted.part.exists()
    return [way for way, _ in server.requests]


@pytest.mark.parametrize("way", ["good", "redirect", "ignorant"])
def test_a_place_that_has_it(wanted: Wanted, server: Server, way: str) -> None:
    calls = []
    get(wanted, server, way, report=lambda *call: calls.append(call))
    assert calls[-1] == ("downloading cifar100 from 127.0.0.1", len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("way", ["404", "500", "503", "liar", "short", "long", "stalls", "endless"])
def test_the_second_place_is_asked_when_the_first_fails(wanted: Wanted, server: Server, way: str) -> None:
    assert get(wanted, server, way, "good")[-1] == "good"


def test_a_broken_connection_is_continued(wanted: Wanted, server: Server) -> None:
    assert set(get(wanted, server, "breaks")) == {"breaks"}
    starts = [int(start[6:-1]) if start else 0 for _, start in server.requests]
    assert starts[0] == 0 and starts == sorted(set(starts)) and len(starts) <= 5  # none begins anew


def test_a_part_is_continued_wherever_it_came_from(wanted: Wanted, server: Server) -> None:
    wanted.part.write_bytes(CONTENT[:123_456])
    get(wanted, server, "good")
    assert server.requests == [("good", "bytes=123456-")]


@pytest.mark.parametrize("way", ["ignorant", "good"])
@pytest.mark.parametrize("left", [b"", b"other content", CONTENT, CONTENT[::-1], CONTENT + b"more"])
def test_whatever_was_left_there_the_file_is_right(wanted: Wanted, server: Server, way: str, left: bytes) -> None:
    wanted.part.write_bytes(left)
    get(wanted, server, way)


def test_a_wrong_part_of_the_file_is_thrown_away(wanted: Wanted, server: Server) -> None:
    wanted.part.write_bytes(CONTENT[:1000])
    assert get(wanted, server, "shifted") == ["shifted", "shifted"]
    assert server.requests[1][1] is None


def test_all_failing_is_one_line_with_every_reason(wanted: Wanted, server: Server) -> None:
    with pytest.raises(UserError) as caught:
        get(wanted, server, "404", "liar", "stalls")
    message = str(caught.value)
    assert "404 Not Found" in message and "MD5 is wrong" in message and "timed out" in message
    assert "--data-dir" in message and "\n" not in message and not wanted.file.exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x", "http://no-such-host.invalid/x", "file:///etc/passwd", "x"])
def test_unreachable_places_are_one_line(wanted: Wanted, url: str) -> None:
    with pytest.raises(UserError, match="cannot be downloaded") as caught:
        fetch(wanted, [url], lambda *_: None)
    assert "\n" not in str(caught.value) and not wanted.file.exists()


def test_a_stop_keeps_what_is_there(wanted: Wanted, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: int | str) -> Never:
        raise Interrupted("stopped")

    def late(report: Callable[[int], None]) -> Any:
        return hub_bar(lambda done: report(done) if done > 50_000 else None)

    monkeypatch.setattr("seedwise.data.download.bar", late)
    monkeypatch.setattr(hub, "HF_HUB_DOWNLOAD_TIMEOUT", 30)  # nothing stalls here, however busy the machine
    with pytest.raises(Interrupted):
        fetch(wanted, [server.url("good"), server.url("good")], stop)
    assert 0 < wanted.part.stat().st_size < len(CONTENT)
    get(wanted, server, "good")
    assert server.requests[1][1] and len(server.requests) == 2


@pytest.fixture
def offered(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive of four classes that the server offers in place of CIFAR-100."""
    from test_data_published import files100, pack

    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)
    monkeypatch.setenv(published.MIRRORS_VARIABLE, f"{server.url('404')[:-12]} {server.url('good')[:-12]}/")
    archive = pack(tmp_path / "server/cifar-100-python.tar.gz", files100(), "cifar-100-python")
    server.content = archive.read_bytes()
    changes = {"classes": 4, "size": len(server.content), "md5": hashlib.md5(server.content).hexdigest()}
    small = dataclasses.replace(cifar.PUBLISHED["cifar100"], **changes)  # type: ignore[arg-type]
    monkeypatch.setitem(cifar.PUBLISHED, "cifar100", small)
    return archive


def test_nothing_is_fetched_unless_asked_for(server: Server, offered: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no local copy named.*-s data.download=true \(0 MB\)"):
        open_data("cifar100", DataConfig(), short_side=64)
    find_source("cifar100", None, DataConfig(download=True))
    open_data("cifar100", DataConfig(download=True), data_dir=offered.parent, short_side=64)
    assert server.requests == []


def test_a_download_is_kept_and_found(server: Server, offered: Path, tmp_path: Path) -> None:
    labels = []
    first = open_data(
        "cifar100", DataConfig(download=True), short_side=64, progress=lambda *call: labels.append(call[0])
    )
    assert [way for way, _ in server.requests] == ["404", "good"]
    assert labels[0].startswith("downloading cifar100 from") and labels[-1].startswith("decoding")
    assert first.path == tmp_path / "cache/downloads/cifar100/cifar-100-python.tar.gz"
    again = open_data("cifar100", DataConfig(), short_side=64)
    elsewhere = open_data("cifar100", DataConfig(), data_dir=tmp_path, short_side=64)
    found = open_data("cifar100", DataConfig(), data_dir=first.path, short_side=64)
    local = open_data(str(offered), DataConfig(), short_side=64)
    assert {first.fingerprint} == {one.fingerprint for one in (again, elsewhere, found, local)}
    assert len(server.requests) == 2


PROCESS = """
import dataclasses, sys
from seedwise.base.hub import bar as hub_bar
from seedwise.data import cifar
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data
size, md5 = int(sys.argv[1]), sys.argv[2]
cifar.PUBLISHED["cifar100"] = dataclasses.replace(cifar.PUBLISHED["cifar100"], classes=4, size=size, md5=md5)
print(open_data("cifar100", DataConfig(download=True), short_side=64).fingerprint)
"""


def test_two_processes_download_once(server: Server, offered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = cifar.PUBLISHED["cifar100"]
    command = [sys.executable, "-c", PROCESS, str(small.size), small.md5]
    monkeypatch.setenv(published.MIRRORS_VARIABLE, server.url("slow")[:-12])
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {run.communicate(timeout=90)[0] for run in runs}
    assert len(answers) == 1 and all(run.returncode == 0 for run in runs)
    assert [way for way, _ in server.requests] == ["slow"]
