"""timm's published weights: downloaded once into the Hugging Face hub client's cache, then read from there.

What is in the cache needs no network: the hub is not even asked. Otherwise one request shows within seconds whether the
file can be had; left to itself the hub's client retries for most of a minute. Cached files are checked: their name
there is the SHA-256 that the hub announced.
"""

import logging
import os
import re
from concurrent.futures import Future
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from threading import Thread
from typing import Any

from seedwise.base.errors import UserError, first_sentence
from seedwise.base.hub import bar, quiet_client
from seedwise.models.checkpoint import file_sha256

log = logging.getLogger("seedwise")

FILES = ("model.safetensors", "pytorch_model.bin")
PATIENCE_SECONDS = 4.0
"""Seconds that the hub has to answer; the variable HF_HUB_ETAG_TIMEOUT sets another."""

_LARGER_DATA = re.compile(r"in(12|21|22)k")
_IMAGENET_1K = re.compile(r"(^|_)in1k$")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubFile:
    """A file of weights in the hub's cache."""

    architecture: str
    """timm's name, always with a tag."""

    path: Path
    repo: str
    sha256: str

    @property
    def origin(self) -> str:
        """Repository, commit, tag and content hash, for records."""
        tag, commit = self.architecture.partition(".")[2], self.path.parent.name
        return f"hub {self.repo}@{commit[:12]} (tag {tag or 'none'}, sha256 {self.sha256})"


def fetch(architecture: str, otherwise: str) -> HubFile:
    """Find the weights of a timm model in the cache, or download them from the hub.

    `otherwise`: the weights that a UserError advises when these can't be had.
    """
    import huggingface_hub

    tagged, hub_id, wanted = _published(architecture, otherwise)
    repo, _, revision = hub_id.partition("@")
    names = (wanted,) if wanted else FILES
    try:
        with quiet_client():
            found = _cached(repo, names, revision or "main") or _download(repo, names, revision or "main")
    except UserError:
        raise
    except Exception as error:  # the hub's client and the HTTP library beneath it each raise their own
        place = f"{huggingface_hub.constants.ENDPOINT}/{repo}"
        raise UserError(
            f"{tagged}: its weights at {place} can't be had: {_reason(error)}; {_advice(error)}, "
            f"or give --weights {otherwise}"
        ) from error
    return HubFile(tagged, found[0], repo, found[1])


def require_timm_model(architecture: str) -> None:
    """Raise a UserError for a name that timm doesn't know, with the most similar ones."""
    import timm

    bare = architecture.split(".")[0]
    if not timm.is_model(bare):
        close = get_close_matches(bare, timm.list_models(), n=3)
        hint = f"did you mean timm:{', timm:'.join(close)}?" if close else "see timm.list_models()"
        raise UserError(f"model timm:{architecture}: timm has no such model; {hint}")


def require_tag(architecture: str) -> None:
    """Raise a UserError for a tag that timm has no weights for."""
    bare, _, tag = architecture.partition(".")
    if tag and architecture not in (known := _names(bare)):
        listed = ", ".join(f"timm:{name}" for name in known[:6]) or f"timm:{bare} (no weights are published)"
        raise UserError(f"model timm:{architecture}: timm knows no tag '{tag}' of {bare}; give -m {listed}")


def _names(bare: str) -> list[str]:
    """A timm model's name with each tag that weights are published under."""
    import timm

    return [name for name in timm.list_models(f"{bare}*", pretrained=True) if name.partition(".")[0] == bare]


def _published(architecture: str, otherwise: str) -> tuple[str, str, str | None]:
    """timm's name with the tag, the repository that holds the weights, and their file if its name is unusual.

    Without a tag it is timm's default, but weights that saw more than ImageNet-1k must be asked for by name: timm's
    default for EfficientNetV2 and many others saw ImageNet-21k.
    """
    import timm

    require_timm_model(architecture)
    require_tag(architecture)
    bare, _, tag = architecture.partition(".")
    known = _names(bare)
    if not known:
        raise UserError(f"model timm:{bare}: timm publishes no weights for it; give --weights {otherwise}")
    default: Any = timm.get_pretrained_cfg(bare)
    name = architecture if tag else f"{bare}.{default.tag}" if default.tag else bare
    if not tag and _LARGER_DATA.search(name):
        tags = (other.partition(".")[2] for other in known)
        plain = [t for t in tags if _IMAGENET_1K.search(t) and not _LARGER_DATA.search(t) and "_ft_" not in t]
        if not plain:
            choices = ", ".join(f"timm:{other}" for other in known[:4])
            raise UserError(f"model timm:{bare}: all its weights saw more than ImageNet-1k; name some: -m {choices}")
        name = f"{bare}.{plain[0]}"
    cfg: Any = timm.get_pretrained_cfg(name)
    if not cfg.hf_hub_id:
        raise UserError(
            f"model timm:{name}: its weights are not on the hub but at {cfg.url}; download them and give --weights FILE"
        )
    return name, cfg.hf_hub_id, cfg.hf_hub_filename


def _cached(repo: str, names: tuple[str, ...], revision: str) -> tuple[Path, str] | None:
    """A cached file and its SHA-256; a damaged one is removed, so that it is downloaded anew."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        found = try_to_load_from_cache(repo, name, revision=revision)
        if isinstance(found, str) and (sha256 := _checked(Path(found))):
            return Path(found), sha256
    return None


def _download(repo: str, names: tuple[str, ...], revision: str) -> tuple[Path, str]:
    """Download the first of these files that the repository has into the cache."""
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    for name in names:
        try:
            _probe(hf_hub_url(repo, name, revision=revision))
        except EntryNotFoundError:
            continue
        path = Path(hf_hub_download(repo, name, revision=revision, tqdm_class=bar()))
        sha256 = _checked(path)
        if sha256 is None:
            raise ConnectionError(f"what came is not the {name} that the hub announced (its SHA-256 differs)")
        return path, sha256
    raise FileNotFoundError(f"there is no {' or '.join(names)}")


def _probe(url: str) -> None:
    """Ask for a file's description, once; raise when there is no answer, or a refusal.

    In a thread, since neither a name server that doesn't answer nor many addresses tried in turn obey a timeout.
    """
    from huggingface_hub import get_hf_file_metadata

    patience = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or PATIENCE_SECONDS)
    answer: Future[object] = Future()

    def ask() -> None:
        try:
            answer.set_result(get_hf_file_metadata(url, timeout=patience))
        except BaseException as error:
            answer.set_exception(error)

    Thread(target=ask, daemon=True).start()
    try:
        answer.result(timeout=patience + 0.5)
    except TimeoutError:
        raise TimeoutError(f"no answer within {patience:g} s") from None


def _checked(path: Path) -> str | None:
    """A cached file's SHA-256; None, and the file removed, when it differs from the name that it has in the cache."""
    blob = path.resolve()
    sha256 = file_sha256(blob)
    if sha256 == blob.name or not _SHA256.fullmatch(blob.name):
        return sha256
    try:
        path.unlink(missing_ok=True)
        blob.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{blob}: damaged (its SHA-256 is not its name); delete it, and {path}") from error
    log.info("hub: removed %s, damaged", blob)
    return None


def _reason(error: Exception) -> str:
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError

    if isinstance(error, OfflineModeIsEnabled):
        return "they are not in the cache, and HF_HUB_OFFLINE forbids to download them"
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or it is private"
    return first_sentence(error).partition(" For more information")[0]


def _advice(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return "free some disk space, or set HF_HOME to another folder"
    return "check the network and HF_ENDPOINT"
