"""Calls of seedwise's functions that no command reaches without a network, a cluster or a minute of compiling.

Each returns an exit code, and leaves what it made below the current folder, as a command does.
"""

import hashlib
import http.server
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from seedwise.base.errors import UserError

Answer = tuple[int, Any]
CONTENT = bytes(range(256)) * 400


def one_line(function: Callable[..., None]) -> Callable[..., Answer]:
    """As the command line does it: a UserError is a line and exit code 2, and so is what a disk refuses."""

    @wraps(function)
    def call(**named: Any) -> Answer:
        import seedwise.cli as cli

        before, sys.argv = sys.argv, ["seedwise", "doctor"]
        import seedwise.cli.app as app

        app.run = lambda: function(**named) or 0  # type: ignore[attr-defined]
        try:
            cli.main()
        except SystemExit as stop:
            return int(stop.code or 0), None
        finally:
            sys.argv = before
        raise AssertionError("main() always exits")

    return call


@contextmanager
def server(content: bytes) -> Iterator[str]:
    """A place on this machine that gives this content to everybody."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/file"
        running.shutdown()
        thread.join()


@one_line
def download(*, sent: str) -> None:
    """A file from a server that sends it, or another one, or more of it."""
    from seedwise.data import published

    body = {"right": CONTENT, "wrong": CONTENT[::-1], "long": CONTENT + b"x"}[sent]
    right = published.PUBLISHED["cifar10"]
    changed = {"size": len(CONTENT), "md5": hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}
    with server(body) as url:
        published.PUBLISHED["cifar10"] = type(right)(**{**vars(right), **changed, "urls": (url,)})
        source = published.DownloadSource("cifar10")
        source.fetch(lambda *_: None)


@one_line
def damaged_hub_file() -> None:
    """A file in the hub's cache that isn't what its name says."""
    from seedwise.models import hub

    path = Path("hub/model.safetensors")
    if path.exists():
        hub._checked(path)
    else:  # as the line advises, where the disk kept the rest of it
        (Path("hub/blobs") / ("0" * 64)).unlink(missing_ok=True)


@one_line
def kernel() -> None:
    """A library compiled into the cache."""
    from seedwise.kernels import launch

    os.environ["SEEDWISE_CACHE"] = str(Path("cache of its own").resolve())  # the other is shared
    library = launch.library(Path("source/it.cpp").resolve())
    if library is None or library.answer() != 42:
        raise UserError("the kernel was not compiled; try again")


@one_line
def received() -> None:
    """A run's files as a node sends them."""
    from seedwise.study.remote_trial import receive

    source = Path("run")
    names = ["record.json", *json.loads((source / "record.json").read_text())["files"]]
    receive(Path("received"), {name: (source / name).read_bytes() for name in names})


@one_line
def on_a_node() -> None:
    """A trial on a machine that doesn't see the study's folder, on data that was sent to it."""
    from seedwise.config.options import plain
    from seedwise.data.find import find_source
    from seedwise.records.run import read_record
    from seedwise.run.folder import environment
    from seedwise.run.run import Run
    from seedwise.study.data_archive import DataArchive, pack
    from seedwise.study.remote_trial import TrialRequest, receive, work

    recipe = Run(Path("of photos")).recipe
    fingerprint = read_record(Path("of photos")).data.fingerprint
    source = find_source(str(Path("photos").resolve()), None, recipe.data)
    data, chunks = pack("photos", source)
    sent = list(chunks)
    order = TrialRequest(
        arm="base", seed=3, key="k" * 16, recipe=json.dumps(plain(recipe)), data="/nowhere/photos", data_dir=None,
        fingerprint=fingerprint, environment=environment(recipe), folder="nowhere", token=None, elsewhere=True,
        report_seconds=1.0,
    )  # fmt: skip
    outcome = work(order, DataArchive(data, len(sent), lambda number: sent[number]), lambda done: None)
    if outcome.state != "finished" or outcome.files is None:
        raise UserError(outcome.error or outcome.state)
    receive(Path("sent back"), outcome.files)


logging.getLogger("seedwise").addHandler(logging.NullHandler())
