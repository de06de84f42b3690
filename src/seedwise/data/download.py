"""Downloads a file from the first of several URLs that has it: resumable, checked by MD5, with progress.

Bytes land in `<file>.part`, which any later attempt continues, from whichever place. Only a file with the right MD5
gets the name without `.part`.
"""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from seedwise.base.errors import UserError
from seedwise.data.source import Progress

_Report = Callable[[int], None]
BLOCK = 1 << 16
REPORT_SECONDS = 0.2


@dataclass(frozen=True)
class Patience:
    """Limits of a download: `timeout` seconds without a byte; `slowest` bytes/s after `measured_seconds`; attempts."""

    timeout: float = 20
    measured_seconds: float = 15
    slowest: float = 250_000
    attempts: int = 5


class _Failed(Exception):
    """A URL doesn't give the file; the message says why."""


class _Slow(_Failed):
    pass


class _Broken(_Failed):
    """The connection broke: the same URL may go on."""


@dataclass(frozen=True)
class Wanted:
    """A file to download: name for messages, target, size in bytes and MD5."""

    name: str
    file: Path
    size: int
    md5: str

    @property
    def part(self) -> Path:
        """The partial file."""
        return self.file.with_name(self.file.name + ".part")


def fetch(wanted: Wanted, urls: Sequence[str], report: Progress, patience: Patience | None = None) -> None:
    """Download the file from one of these URLs; a slow one is used only when no other is faster.

    The caller keeps other processes away. A UserError says why every URL failed.
    """
    patience = patience or Patience()
    reasons: dict[str, str] = {}
    slow: list[str] = []
    for url in urls:
        try:
            return _fetch_from(wanted, url, report, patience, may_be_slow=False)
        except _Failed as error:
            reasons[url] = str(error)
            if isinstance(error, _Slow):
                slow.append(url)
    for url in slow:
        try:
            return _fetch_from(wanted, url, report, patience, may_be_slow=True)
        except _Failed as error:
            reasons[url] = str(error)
    said = "; ".join(f"{urlsplit(url).hostname or url}: {reason}" for url, reason in reasons.items())
    raise UserError(
        f"{wanted.name}: cannot be downloaded ({said}): try again later, which continues, or get {wanted.file.name} "
        f"yourself and give its folder with --data-dir"
    )


def _fetch_from(wanted: Wanted, url: str, report: Progress, patience: Patience, *, may_be_slow: bool) -> None:
    label = f"downloading {wanted.name} from {urlsplit(url).hostname}"
    left = patience.attempts
    while True:
        before = _size(wanted.part)
        try:
            _continue(wanted, url, lambda done: report(label, done, wanted.size), patience, may_be_slow)
        except _Broken:
            left -= 1
            if not left or _size(wanted.part) <= before:
                raise
            continue
        if _md5(wanted.part) == wanted.md5:
            wanted.part.replace(wanted.file)
            return
        wanted.part.unlink()
        if not before:
            raise _Failed("sent another file (its MD5 is wrong)")
        # what had been there before may be what was wrong: once more from the start


def _continue(wanted: Wanted, url: str, report: _Report, patience: Patience, may_be_slow: bool) -> None:
    """Append the missing bytes to the partial file."""
    have = _size(wanted.part)
    if have >= wanted.size:
        return
    headers = {"User-Agent": "seedwise", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if urlsplit(url).scheme not in ("http", "https"):
        raise _Failed("not an http or https address")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=patience.timeout) as response:
            start = _start(response, have)
            _check_length(response, start, wanted.size)
            _append(wanted, response, start, report, None if may_be_slow else patience)
    except urllib.error.HTTPError as error:
        raise _Failed(f"HTTP {error.code}") from error
    except TimeoutError as error:
        raise _Broken("no answer in time") from error
    except urllib.error.URLError as error:
        reason = error.reason
        raise _Failed(reason.strerror if isinstance(reason, OSError) and reason.strerror else f"{reason}") from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise _Broken(f"the connection broke ({type(error).__name__})") from error
    except ValueError as error:
        raise _Failed(f"not an address ({error})") from error
    if (got := _size(wanted.part)) < wanted.size:
        raise _Broken(f"sent {got} of {wanted.size} bytes")


def _start(response: http.client.HTTPResponse, have: int) -> int:
    """Offset in the file at which a response begins: a server may ignore the requested range, and begin anew."""
    if response.status != 206:
        return 0
    if not (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-"):
        raise _Failed("sent another part of the file than was asked for")
    return have


def _check_length(response: http.client.HTTPResponse, start: int, size: int) -> None:
    length = response.headers.get("Content-Length")
    if length is not None and start + int(length) != size:
        raise _Failed(f"has a file of {start + int(length)} bytes instead of {size}")


def _append(
    wanted: Wanted, response: http.client.HTTPResponse, start: int, report: _Report, patience: Patience | None
) -> None:
    began = shown = time.monotonic()
    done = start
    with wanted.part.open("ab") as out:
        out.truncate(start)
        while block := response.read1(BLOCK):
            if done + len(block) > wanted.size:
                out.truncate(0)
                raise _Failed("sent more than the file has")
            out.write(block)
            done += len(block)
            now = time.monotonic()
            if now - shown >= REPORT_SECONDS:
                report(done)
                shown = now
            seconds = now - began
            if patience and seconds > patience.measured_seconds and done - start < patience.slowest * seconds:
                raise _Slow(f"only {(done - start) / seconds / 1000:.0f} kB a second")
    report(done)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _md5(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
