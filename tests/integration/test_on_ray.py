"""What `--on ray` refuses, and a node's part of the work without Ray."""

import errno
import json
import os
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of
from seedwise.data.find import find_source
from seedwise.data.open import open_data
from seedwise.recipe import library
from seedwise.records.run import read_record
from seedwise.run import resolve
from seedwise.run.folder import environment
from seedwise.run.train import train
from seedwise.study import ray_runner
from seedwise.study.data_archive import DataArchive, pack, unpack
from seedwise.study.remote_trial import TrialRequest, receive, work

STUDY = ("ablate", "digits", "--base", "demo", "--toggle", "cutmix")


@pytest.mark.parametrize("spec", [None, ModuleSpec("ray", None)])
def test_without_the_extra_the_line_says_which_install_brings_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None
) -> None:
    monkeypatch.setattr(ray_runner, "find_spec", lambda name: spec)
    answer = cli(*STUDY, "--on", "ray")
    assert answer.code == 2
    assert answer.line == '--on ray: Ray is not installed here; pip install "seedwise[ray]" brings it'


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--on", "spark"), "--on spark: give local or ray"),
        (("--address", "n1:6379"), "--address: is for a cluster; give --on ray with it"),
        (("--cpus-per-trial", "2"), "--cpus-per-trial: is for a cluster"),
        (("--elsewhere",), "--elsewhere: is for a cluster"),
        (("--on", "ray", "--address", "n1"), "--address n1: give auto, or HOST:PORT"),
        (("--on", "ray", "--address", "ray://n1:10001"), "give HOST:PORT of the head, on a machine of the cluster"),
        (("--on", "ray", "-j", "2"), "--jobs: is about this machine; drop it, or --on ray"),
        (("--on", "ray", "--dry-run"), "--dry-run: is about this machine"),
    ],
)
def test_arguments_that_make_no_sense_are_one_line(cli: Cli, arguments: tuple[str, ...], words: str) -> None:
    pytest.importorskip("ray")
    answer = cli(*STUDY, *arguments)
    assert answer.code == 2
    assert words in answer.line


def test_an_address_where_nobody_answers_is_said_at_once(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    answer = cli(*STUDY, "--on", "ray", "--address", "127.0.0.1:1", "-o", tmp_path / "study")
    assert answer.code == 2
    assert "--address 127.0.0.1:1: nobody answers there" in answer.err
    assert not (tmp_path / "study").exists()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, gray in (("cats", 40), ("dogs", 200)):
        for number in range(8):
            path = tmp_path / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), (gray + number,) * 3).save(path)
    return tmp_path / "photos"


def _recipe() -> Any:
    settings = ["model.name=small", "train.epochs=1", "train.image_size=16", "train.batch_size=20"]
    settings += ["data.limit=60", "data.val=0", "compute.threads=1", "compute.kernels=stock"]
    return resolve.resolve(library.read("demo", settings))


def _request(tmp_path: Path, data: str, **changes: Any) -> TrialRequest:
    recipe = _recipe()
    opened = open_data(data, recipe.data, **resolve.storage_resolution(recipe))
    order = TrialRequest(
        arm="base",
        seed=1,
        key="0123",
        recipe=recipe.model_dump_json(),
        data=data,
        data_dir=None,
        fingerprint=opened.fingerprint,
        environment=environment(recipe),
        folder=str(tmp_path / "study"),
        token=None,
        elsewhere=False,
        report_seconds=0.0,
    )
    return replace(order, **changes)


def _archive(data: str, content: list[bytes]) -> DataArchive:
    return DataArchive(data, len(content), content.__getitem__)


def test_what_a_node_sends_back_is_the_run_that_would_have_been_trained_here(
    tmp_path: Path,
) -> None:
    here = train(_recipe(), "digits", seed=1, out=tmp_path / "here")
    outcome = work(_request(tmp_path, "digits"), None, lambda done: None)
    assert (outcome.state, outcome.error) == ("finished", "")
    receive(tmp_path / "there", outcome.files or {})
    record = read_record(tmp_path / "there")
    for name, checksum in record.files.items():
        assert sha256_of(tmp_path / "there" / name) == checksum
    assert sha256_of(tmp_path / "there" / "model.safetensors") == sha256_of(here.folder / "model.safetensors")

    receive(tmp_path / "there", {"record.json": b"another attempt's"})  # finished once is finished
    assert read_record(tmp_path / "there") == record


def test_a_node_that_sees_the_study_folder_trains_there(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    outcome = work(_request(tmp_path, "digits", token=(str(token), "secret")), None, lambda done: None)
    assert outcome.files is None
    assert read_record(tmp_path / "study").status == "finished"
    mistaken = work(_request(tmp_path, "digits", token=(str(token), "another cluster's")), None, lambda done: None)
    assert mistaken.files is not None


def test_a_node_with_other_bits_is_refused_or_marked(tmp_path: Path) -> None:
    order = _request(tmp_path, "digits")
    order = replace(order, environment=dict(order.environment) | {"CPU capability": "another"})
    outcome = work(order, None, lambda done: None)
    assert outcome.state == "refused"
    assert "CPU capability another -> " in outcome.error

    taken = work(replace(order, elsewhere=True), None, lambda done: None)
    receive(tmp_path / "there", taken.files or {})
    (moved,) = read_record(tmp_path / "there").machine["moved"]  # type: ignore[misc, str-unpack, union-attr]
    assert moved.startswith("before epoch 1: CPU capability another -> ")


def test_a_node_with_fewer_threads_allowed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = _request(tmp_path, "digits")
    four = json.loads(order.recipe) | {"compute": json.loads(order.recipe)["compute"] | {"threads": 4}}
    monkeypatch.setenv("OMP_THREAD_LIMIT", "2")
    assert work(replace(order, recipe=json.dumps(four)), None, lambda done: None).error == "threads 4 -> 2"


def test_data_that_a_node_does_not_see_is_sent_and_its_fingerprint_checked(images: Path, tmp_path: Path) -> None:
    order = _request(tmp_path, str(images))
    data, chunks = pack(str(images), find_source(str(images), None))
    content = list(chunks)
    images.rename(tmp_path / "away")  # as if on another machine

    assert work(order, None, lambda done: None).state == "dataless"
    outcome = work(order, _archive(data, content), lambda done: None)
    assert (outcome.state, outcome.error) == ("finished", "")
    receive(tmp_path / "there", outcome.files or {})
    assert read_record(tmp_path / "there").data.source == str(images)

    wrong = work(replace(order, fingerprint="f" * 64), _archive(data, content), lambda done: None)
    assert wrong.state == "failed"
    assert "what arrived at the node is not the study's data" in wrong.error


def test_a_node_whose_disk_is_full_says_so(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = _request(tmp_path, str(images))
    data, chunks = pack(str(images), find_source(str(images), None))
    content = list(chunks)
    images.rename(tmp_path / "away")
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "another cache"))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("tarfile.TarFile.extractall", "os.fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(name, full)
            outcome = work(order, _archive(data, content), lambda done: None)
        assert (outcome.state, outcome.began) == ("failed", False)
        assert "images cannot be kept there (No space left on device)" in outcome.error
    assert work(order, _archive(data, content), lambda done: None).state == "finished"


def test_chunks_arrive_as_they_were_sent(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedwise.study.data_archive.CHUNK_BYTES", 1000)
    data, chunks = pack(str(images), find_source(str(images), None))
    content = list(chunks)
    assert len(content) > 10
    folder = unpack(_archive(data, content), tmp_path / "place")
    sent = {path.relative_to(images): path.read_bytes() for path in images.rglob("*.png")}
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")} == sent


def test_images_outside_the_table_folder_can_not_be_sent(images: Path, tmp_path: Path) -> None:
    table = tmp_path / "tables" / "all.csv"
    table.parent.mkdir()
    rows = [f"{os.path.relpath(path, table.parent)},{path.parent.name}" for path in sorted(images.rglob("*.png"))]
    table.write_text("image,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(UserError, match="can't be sent to nodes that don't see it"):
        pack(str(table), find_source(str(table), None))


def test_a_file_that_changed_on_its_way_is_not_taken(tmp_path: Path) -> None:
    files = work(_request(tmp_path, "digits"), None, lambda done: None).files or {}
    with pytest.raises(UserError, match=r"model\.safetensors: did not arrive from the node as it was written there"):
        receive(tmp_path / "there", files | {"model.safetensors": files["model.safetensors"] + b"!"})
    assert not (tmp_path / "there" / "record.json").exists()


def test_a_node_can_not_write_outside_the_run_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would lie outside it"):
        receive(tmp_path / "run", {"../escaped": b""})
    assert not (tmp_path / "escaped").exists()
