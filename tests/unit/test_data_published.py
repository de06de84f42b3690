"""The published archives, in small: written with pickle as Python 2 wrote them, and by strangers."""

import dataclasses
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data import cifar
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data
from seedwise.data.unpickle import Refused, read_pickle

NAMES = ["apple", "bear", "cup", "dog"]
ABOVE = ["animal", "thing"]
COARSE = [1, 0, 1, 0]
ALL = DataConfig(val=0, test=0)


@pytest.fixture(autouse=True)
def _small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)
    for name, published in cifar.PUBLISHED.items():
        monkeypatch.setitem(cifar.PUBLISHED, name, dataclasses.replace(published, classes=4))


def planes(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), np.uint8)


def python2(value: dict[str, Any]) -> bytes:
    """Pickle as the archives have it: protocol 2, byte strings, the module names of old NumPy."""

    def as_bytes(item: Any) -> Any:
        if isinstance(item, dict):
            return {as_bytes(key): as_bytes(inner) for key, inner in item.items()}
        if isinstance(item, list):
            return [as_bytes(inner) for inner in item]
        return item.encode() if isinstance(item, str) else item

    return pickle.dumps(as_bytes(value), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def files100() -> dict[str, dict[str, Any] | dict[str, list[str]]]:
    labels = {part: [row % 4 for row in range(count)] for part, count in (("train", 40), ("test", 8))}
    files = {"meta": {"fine_label_names": NAMES, "coarse_label_names": ABOVE}}
    for seed, part in enumerate(labels):
        files[part] = {
            "filenames": [f"{row}.png" for row in range(len(labels[part]))],
            "batch_label": part,  # type: ignore[dict-item]
            "fine_labels": labels[part],  # type: ignore[dict-item]
            "coarse_labels": [COARSE[label] for label in labels[part]],  # type: ignore[misc]
            "data": planes(seed, len(labels[part])),  # type: ignore[dict-item]
        }
    return files


def files10() -> dict[str, dict[str, int | list[str]] | dict[str, list[int] | list[str] | np.ndarray]]:
    files = {"batches.meta": {"label_names": NAMES, "num_vis": 3072, "num_cases_per_batch": 8}}
    for seed, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        files[name] = {"labels": [row % 4 for row in range(8)], "data": planes(seed, 8), "filenames": ["x"] * 8}
    return files  # type: ignore[return-value]


def unpack(folder: Path, files: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    for name, value in files.items():
        (folder / name).write_bytes(value if isinstance(value, bytes) else python2(value))
    return folder


def pack(file: Path, files: dict[str, Any], top: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w:gz") as tar:
        for name, value in files.items():
            data = value if isinstance(value, bytes) else python2(value)
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file


def as_parquet(folder: Path) -> Path:
    folder.mkdir()
    features = {"fine_label": {"names": NAMES, "_type": "ClassLabel"}}
    features["coarse_label"] = {"names": ABOVE, "_type": "ClassLabel"}
    for part, value in files100().items():
        if part == "meta":
            continue
        images = []
        for row in value["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[::-1]:
            buffer = io.BytesIO()
            Image.fromarray(row).save(buffer, "PNG")
            images.append({"bytes": buffer.getvalue(), "path": ""})
        columns = {"fine_label": value["fine_labels"][::-1], "coarse_label": value["coarse_labels"][::-1]}
        table = pa.table({"img": images, **columns})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"{part}-00000-of-00001.parquet")
    return folder


def test_archive_folder_and_parquet_are_the_same_data(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a/cifar-100-python.tar.gz", files100(), "cifar-100-python")
    folder = unpack(tmp_path / "f/cifar-100-python", files100())
    parquet = as_parquet(tmp_path / "parquet")
    data = [
        *(open_data(str(path), ALL, short_side=64) for path in (archive, folder, parquet)),
        *(open_data("cifar100", ALL, data_dir=path, short_side=64) for path in (archive, folder, parquet)),
        *(open_data("cifar100", ALL, data_dir=path.parent, short_side=64) for path in (archive, folder)),
    ]
    assert {one.fingerprint for one in data} == {data[0].fingerprint}
    assert [one.name for one in data] == ["cifar100", "cifar100", "parquet"] + ["cifar100"] * 5
    for one in data:
        assert one.classes == tuple(NAMES) and one.splits == {"train": 40, "val": 0, "test": 8}
        assert one.superclasses == tuple(ABOVE) and one.superclass_of.tolist() == COARSE
        assert np.array_equal(one.train.gather(np.arange(40))[0], data[0].train.gather(np.arange(40))[0])
        assert np.array_equal(one.train.targets, data[0].train.targets)
    assert data[0].path == archive and data[1].path == folder


@pytest.mark.parametrize("packed", [True, False])
def test_cifar10(tmp_path: Path, packed: bool) -> None:
    if packed:
        pack(tmp_path / "cifar10/cifar-10-python.tar.gz", files10(), "cifar-10-batches-py")
    else:
        unpack(tmp_path / "cifar10/cifar-10-batches-py", files10())
    data = open_data("cifar10", ALL, data_dir=tmp_path, short_side=64)
    assert data.splits == {"train": 40, "val": 0, "test": 8} and data.superclasses is None
    stored = {image.tobytes() for image in data.train.gather(np.arange(40))[0].transpose(0, 2, 3, 1)}
    published = np.concatenate([planes(seed, 8) for seed in range(5)]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert stored == {image.tobytes() for image in published}


def test_pickles_of_this_python_are_read_too(tmp_path: Path) -> None:
    files = {name: pickle.dumps(value, protocol=4) for name, value in files100().items()}
    data = open_data(str(unpack(tmp_path / "d", files)), ALL, short_side=64)
    assert data.fingerprint == open_data(str(unpack(tmp_path / "e", files100())), ALL, short_side=64).fingerprint


class Call:
    """What an attacker pickles: a call of anything with anything."""

    def __init__(self, function: Callable[..., Any], *arguments: str, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def hostile(marker: Path | str) -> dict[str, bytes]:
    code = f"open({str(marker)!r}, 'w')"
    changed = files100()["train"]
    return {
        "system": pickle.dumps(Call(os.system, f"touch {marker}")),
        "eval": pickle.dumps({"data": Call(eval, code)}),
        "getattr": pickle.dumps({"data": Call(getattr, "x", "upper")}),
        "nested": pickle.dumps({"data": [Call(exec, code)]}),
        "protocol 0": pickle.dumps(Call(os.system, f"touch {marker}"), protocol=0),
        "old instance": b"(S'" + f"touch {marker}".encode() + b"'\nios\nsystem\n.",
        "numpy load": pickle.dumps({"data": Call(np.load, str(marker))}),
        "numpy object array": pickle.dumps({"data": np.array([Call(os.system, f"touch {marker}")], object)}),
        "other dtype": pickle.dumps({**changed, "data": np.zeros((40, 3072))}),
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93.",
        "codec": pickle.dumps({"data": Call(__import__("_codecs").encode, "x", "rot13")}),
        "array state of a function": b"\x80\x02c_codecs\nencode\nN}X\x01\x00\x00\x00aK\x01s\x86b.",
        "memory by a number": b"\x80\x04K\x01r\xff\xff\xff\x7f.",
        "memory by a length": b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00x.",
        "list": pickle.dumps([1, 2]),
        "empty": b"",
        "cut": python2(changed)[:-2000],
        "text": b"not a pickle at all",
        "labels of another kind": pickle.dumps({**changed, "fine_labels": ["x"] * 40}),
        "labels out of range": pickle.dumps({**changed, "fine_labels": [4] * 40}),
        "too few labels": pickle.dumps({**changed, "fine_labels": [0, 1, 2, 3]}),
        "no pixels": pickle.dumps({key: value for key, value in changed.items() if key != "data"}),
        "pixels of another kind": pickle.dumps({**changed, "data": b"x"}),
        "pixels of another shape": pickle.dumps({**changed, "data": np.zeros((40, 3000), np.uint8)}),
        "persistent": b"Pos\n.",
    }


@pytest.mark.parametrize("case", hostile("x"))
@pytest.mark.parametrize("packed", [True, False], ids=["archive", "folder"])
def test_hostile_and_damaged_pickles_are_one_line_and_run_nothing(tmp_path: Path, case: str, packed: bool) -> None:
    marker = tmp_path / "executed"
    files = files100() | {"train": hostile(marker)[case]}
    place = pack(tmp_path / "cifar-100-python.tar.gz", files, "x") if packed else unpack(tmp_path / "d", files)
    with pytest.raises(UserError, match="train is not the published data") as caught:
        open_data(str(place), ALL, short_side=64)
    assert "\n" not in str(caught.value) and not marker.exists()


def test_only_three_things_can_be_named() -> None:
    for module, name in (("os", "system"), ("builtins", "eval"), ("numpy", "load"), ("collections", "OrderedDict")):
        with pytest.raises(Refused, match=f"the object {module}.{name}"):
            read_pickle(io.BytesIO(f"c{module}\n{name}\n.".encode()))


@pytest.mark.parametrize(("change", "message"), [
    (lambda files: files.pop("test"), "test is not there"),
    (lambda files: files.update(meta={"fine_label_names": NAMES[:3], "coarse_label_names": ABOVE}), "train is not the"),
    (lambda files: files.update(meta={"fine_label_names": 3}), "meta is not the published data"),
    (lambda files: files.update(meta={"fine_label_names": [*NAMES, "e"]}), "5 classes, but"),
])  # fmt: skip
def test_incomplete_archives_are_one_line(tmp_path: Path, change: Callable[..., Any], message: str) -> None:
    files = files100()
    change(files)
    with pytest.raises(UserError, match=message):
        open_data(str(pack(tmp_path / "cifar-100-python.tar.gz", files, "cifar-100-python")), ALL, short_side=64)
