"""Downloads a file from the first of several URLs that has it: resumable, checked by MD5, with progress.

Bytes land in `<file>.part`, which any later attempt continues, from whichever place. Only a file with the right MD5
gets the name without `.part`. huggingface_hub's client fetches it, from any address: it waits, and goes on where a
connection broke.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from seedwise.base.errors import Interrupted, UserError, first_sentence
from seedwise.base.hub import bar, quiet_client
from seedwise.data.source import Progress


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


def fetch(wanted: Wanted, urls: Sequence[str], report: Progress) -> None:
    """The file from one of these places, the first that gives it. The caller keeps other processes away."""
    reasons = []
    for url in urls:
        place = urlsplit(url).hostname or url
        try:
            with quiet_client():
                return _fetch_from(wanted, url, partial(report, f"downloading {wanted.name} from {place}"))
        except (UserError, Interrupted):
            raise
        except Exception as error:  # the client and the HTTP library beneath it each raise their own
            if isinstance(error, OSError) and error.errno:  # the disk's
                raise
            reasons.append(f"{place}: {first_sentence(error).partition(' For more information')[0]}")
    raise UserError(
        f"{wanted.name}: cannot be downloaded ({'; '.join(reasons)}): try again later, which continues, or get "
        f"{wanted.file.name} yourself and give its folder with --data-dir"
    )


def _fetch_from(wanted: Wanted, url: str, report: Callable[[int, int], None]) -> None:
    from huggingface_hub.file_download import http_get

    with wanted.part.open("ab") as part:
        if (before := part.tell()) < wanted.size:
            http_get(
                url,
                part,
                resume_size=before,
                headers={"Accept-Encoding": "identity"},
                expected_size=wanted.size,
                tqdm_class=bar(lambda done: report(done, wanted.size)),
            )
    with wanted.part.open("rb") as part:
        md5 = hashlib.file_digest(part, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 == wanted.md5:
        wanted.part.replace(wanted.file)
        return
    wanted.part.unlink()
    if not before:
        raise ValueError("sent another file (its MD5 is wrong)")
    _fetch_from(wanted, url, report)  # what had been there before may be what was wrong
