"""Published weights over the hub's HTTP, from a server in this process: downloaded once, checked, or soon refused."""

import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants as hub_constants
import pytest
import timm
import torch
from safetensors.torch import save
from torch import nn

from seedwise.base.errors import UserError
from seedwise.models.build import BuiltModel, build_model
from seedwise.models.config import ModelConfig
from seedwise.models.hub import PATIENCE_SECONDS

NAME = "test_efficientnet.r160_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECONDS = 8.0
"""For a refusal that takes 3 where the machine isn't busy."""


class Hub(ThreadingHTTPServer):
    """What huggingface.co does for files in LFS: a HEAD describes them, and a redirect leads to another host."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, bytes] = {}
        """By path, as `timm/NAME/model.safetensors`."""
        self.fault = ""
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.server.requests.append(f"HEAD {self.path}")
        fault = self.server.fault
        if fault == "silent":
            time.sleep(SECONDS)
        elif fault == "busy":
            self.answer(503)
        elif fault == "private":
            self.answer(401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif fault == "portal":
            self.answer(200, {"Content-Length": "9", "Content-Type": "text/html"})
        else:
            self.describe()

    def describe(self) -> None:
        content = self.server.files.get(self.path.lstrip("/").replace("/resolve/main/", "/"))
        commit = {"X-Repo-Commit": COMMIT}
        if content is None:
            self.answer(404, {**commit, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            return
        away = f"http://localhost:{self.server.server_port}/cdn{self.path.replace('/resolve/main/', '/')}"
        linked = {"X-Linked-Size": str(len(content)), "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"'}
        self.answer(302, {**commit, **linked, "Location": away})

    def do_GET(self) -> None:
        self.server.requests.append(f"GET {self.path} {self.headers.get('Range', '')}".rstrip())
        content = self.server.files[self.path.removeprefix("/cdn/")]
        start = int((re.findall(r"bytes=(\d+)-", self.headers.get("Range", "")) or ["0"])[0])
        if self.server.fault == "wrong":
            content = content[:-1] + b"\0"
        if self.server.fault == "short":
            content = content[:-7]
        if self.server.fault == "cut":
            start = 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        half = self.server.fault == "cut" or (self.server.fault == "cut once" and not start)
        self.wfile.write(content[start : len(content) // 2] if half else content[start:])

    def answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: bytes) -> Iterator[Hub]:
    """A hub with the test model, and an empty cache. The client read its variables at import, so its constants move."""
    server = Hub()
    server.files[f"timm/{NAME}/model.safetensors"] = weights
    monkeypatch.setattr(hub_constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        hub_constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return timm.create_model("test_efficientnet").eval()


@pytest.fixture(scope="module")
def weights(donor: nn.Module) -> bytes:
    return save(donor.state_dict())


def build(name: str = f"timm:{NAME}", classes: int = 1000) -> BuiltModel:
    return build_model(ModelConfig(name=name, weights="hub"), num_classes=classes, seed=0)


def same(built: BuiltModel, donor: nn.Module) -> bool:
    theirs = donor.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in built.module.state_dict().items())


def refusal(name: str = f"timm:{NAME}") -> str:
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        build(name)
    assert time.monotonic() - began < SECONDS
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_first_use_downloads_and_later_ones_need_no_hub(
    hub: Hub, donor: nn.Module, weights: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    first = build()
    assert same(first, donor)
    sha256 = hashlib.sha256(weights).hexdigest()
    assert f"hub timm/{NAME}@{COMMIT[:12]} (tag r160_in1k, sha256 {sha256})" in first.weights
    assert "head kept" in first.weights
    asked = len(hub.requests)
    assert same(build(), donor)
    assert len(hub.requests) == asked
    hub.stop()
    began = time.monotonic()
    again = build(classes=7)
    assert time.monotonic() - began < SECONDS
    assert "new head for 7 classes, the weights have 1000 classes" in again.weights
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_the_variables_of_the_client_are_obeyed(hub: Hub, tmp_path: Path) -> None:
    code = f"""
from seedwise.models.build import build_model
from seedwise.models.config import ModelConfig
from seedwise.models.hub import PATIENCE_SECONDS
print(build_model(ModelConfig(name="timm:{NAME}"), num_classes=10, seed=0).weights)
"""
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "tag r160_in1k" in done.stdout
    assert done.stderr == ""
    assert list((tmp_path / "home").rglob("model.safetensors"))
    assert not [request for request in hub.requests if f"timm/{NAME}/" not in request]  # no telemetry


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("silent", "no answer|timed out"),
        ("busy", "503 Service Unavailable"),
        ("private", "no such repository"),
        ("portal", "X-Repo-Commit"),
        ("wrong", "not the model.safetensors that the hub announced"),
        ("short", "should be of size"),
        ("cut", "peer closed connection without sending complete message body"),
    ],
)
def test_a_hub_that_fails_is_one_line_in_seconds(
    hub: Hub,
    fault: str,
    reason: str,
    donor: nn.Module,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault == "silent":
        assert PATIENCE_SECONDS < 5
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    hub.fault = fault
    message = refusal()
    assert re.search(reason, message)
    assert NAME in message and "--weights none or a path" in message
    assert capfd.readouterr() == ("", "")
    hub.fault = ""
    assert same(build(), donor)  # nothing of it stays in the cache


def test_an_unreachable_hub_and_offline_mode(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.stop()
    assert "Connection refused" in refusal()
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids" in refusal("efficientnetv2_s")


def test_a_download_that_is_cut_off_once_is_resumed(
    hub: Hub, donor: nn.Module, weights: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.fault = "cut once"
    assert same(build(), donor)
    starts = [int(request.split("bytes=")[1].rstrip("-")) for request in hub.requests if "bytes=" in request]
    assert len(starts) == 1 and 0 < starts[0] <= len(weights) // 2


def test_a_download_that_begins_anew_again_and_again_ends(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client itself goes on as long as anything comes."""
    monkeypatch.setattr(hub_constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.fault = "cut"
    assert "it was cut off again and again" in refusal()


def test_a_damaged_cache_is_downloaded_anew(hub: Hub, donor: nn.Module, tmp_path: Path) -> None:
    build()
    file = next((tmp_path / "cache").rglob("model.safetensors")).resolve()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert same(build(), donor)
    file.write_bytes(content)
    hub.stop()
    assert "Connection refused" in refusal()


def test_files_of_another_kind_or_model(hub: Hub, donor: nn.Module, tmp_path: Path) -> None:
    other = timm.create_model("test_resnet").state_dict()
    for content in (save(other), b"<html>no weights</html>"):
        hub.files[f"timm/{NAME}/model.safetensors"] = content
        message = refusal()
        assert f"doesn't fit {NAME}" in message and str(tmp_path / "cache") in message
    del hub.files[f"timm/{NAME}/model.safetensors"]
    assert "there is no model.safetensors or pytorch_model.bin" in refusal("timm:test_resnet")
    torch.save(donor.state_dict(), tmp_path / "old.bin")
    hub.files["timm/test_convnext.r160_in1k/pytorch_model.bin"] = (tmp_path / "old.bin").read_bytes()
    assert "doesn't fit test_convnext.r160_in1k" in refusal("timm:test_convnext")


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("efficientnetv2_s", "tf_efficientnetv2_s.in1k"),
        ("timm:tf_efficientnetv2_s", "tf_efficientnetv2_s.in1k"),
        ("timm:tf_efficientnetv2_s.in21k_ft_in1k", "tf_efficientnetv2_s.in21k_ft_in1k"),
        ("timm:resnet18", "resnet18.a1_in1k"),
        ("timm:convnext_tiny", "convnext_tiny.fb_in1k"),
    ],
)
def test_larger_data_must_be_named(hub: Hub, name: str, repository: str) -> None:
    assert repository in refusal(name)
    assert hub.requests[0] == f"HEAD /timm/{repository}/resolve/main/model.safetensors"


def test_tags_that_do_not_exist_or_must_be_chosen(hub: Hub) -> None:
    assert "knows no tag 'in3k' of resnet18; give -m timm:resnet18.a1_in1k" in refusal("timm:resnet18.in3k")
    assert "name some: -m timm:beit_base_patch16_224.in22k" in refusal("timm:beit_base_patch16_224")
    assert "timm publishes no weights" in refusal("timm:efficientnet_lite4")
    assert hub.requests == []
