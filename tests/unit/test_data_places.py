"""Where the image names in a CSV lead, headers that are missing, and text as programs write it."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source


def images(folder: Path, names: list[str]) -> None:
    for row, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (row, 0, 0)).save(folder / name)


def csv(folder: Path, names: list[str], header: str = "image,label", encoding: str = "utf-8") -> Path:
    lines = [header, *(f"{name},{'ab'[row % 2]}" for row, name in enumerate(names))]
    (folder / "d.csv").write_bytes("\n".join(lines).encode(encoding))
    return folder / "d.csv"


def files(path: Path, **options: Any) -> list[str]:
    source = find_source(str(path), None, DataConfig(**options))
    named = {line.split("\0")[0] for line in source.stamp() if "\0" in line}
    contents = source.read()
    read = [str(image.data) for image in contents.parts["train"].images()]
    assert named == {str(path), *read}  # what is read is in the stamp
    return read


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        files(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("header", [
    "id,label", "image_id,label", "Image,Label", "img_id,class", "Filename,Target", "ImageName,Category",
])  # fmt: skip
def test_columns_as_they_are_called_elsewhere(tmp_path: Path, header: str) -> None:
    images(tmp_path, ["0.png", "1.png"])
    assert files(csv(tmp_path, ["0.png", "1.png"], header)) == [str(tmp_path / f"{row}.png") for row in range(2)]


def test_ids_without_folder_and_suffix(tmp_path: Path) -> None:
    images(tmp_path, ["pics/train/00a.jpg", "pics/train/00b.jpg"])
    path = csv(tmp_path, ["00a", "00b"], "image_id,label")
    message = refusal(path)
    assert message.startswith(
        f"{path}:2: {tmp_path}/00a: cannot be read (No such file or directory), nor can any other of 2 "
    )
    assert message.endswith("it is found with -s data.image_folder=pics/train -s data.image_suffix=.jpg")
    expected = [str(tmp_path / f"pics/train/00{it}.jpg") for it in "ab"]
    for folder in ("pics/train", "pics/train/", str(tmp_path / "pics/train")):
        assert files(path, image_folder=folder, image_suffix=".jpg") == expected
    assert "-s data.image_folder=pics/train -s data.image_suffix=.jpg" in refusal(path, image_suffix=".jpg")
    assert f"{tmp_path}/pics/train/00a: cannot be read" in refusal(path, image_folder="pics/train")
    assert "no such folder: data.image_folder=pix" in refusal(path, image_folder="pix", image_suffix=".jpg")
    assert (
        files(csv(tmp_path, ["00a.jpg", "00b.jpg"]), image_folder="pics/train", image_suffix=".jpg")[0] == expected[0]
    )


def test_all_that_are_missing_are_named_at_once(tmp_path: Path) -> None:
    images(tmp_path, [f"{row}.png" for row in range(9)])
    path = csv(tmp_path, [f"{row}.png" for row in range(23)])
    with pytest.raises(UserError) as caught:
        files(path)
    *named, last = caught.value.lines
    assert named == [
        f"{path}:{row}: {tmp_path}/{row - 2}.png: cannot be read (No such file or directory)" for row in range(11, 21)
    ]
    assert last.startswith("14 of 23 images cannot be read, of which 10 are named; the first: mend or remove it, or ")


def test_all_that_has_to_be_said_is_asked_for_at_once(tmp_path: Path) -> None:
    images(tmp_path, ["pics/00a.jpg", "pics/00b.jpg"])
    path = csv(tmp_path, ["00a", "00b"], "asset,sign")
    lead = "-s data.image_folder=pics -s data.image_suffix=.jpg"
    assert refusal(path).endswith(
        f"cannot be told from their names: asset, sign; name it: -s data.image_column=asset {lead}"
    )
    path.write_text("asset,sign,also\n00a,x,7\n00b,y,8\n")
    said = "which column holds an image, and which a label, cannot be told from their names: asset, sign, also"
    assert f"{said}; name them: -s data.image_column=asset -s data.label_column=NAME {lead}" in refusal(path)
    assert refusal(path, image_column="asset").endswith(f"name it: -s data.label_column=NAME {lead}")
    options = {"image_column": "asset", "label_column": "sign", "image_folder": "pics", "image_suffix": ".jpg"}
    assert files(path, **options) == [str(tmp_path / f"pics/00{it}.jpg") for it in "ab"]
    path.write_text("asset,sign,also\nzz,x,7\nyy,y,8\n")
    assert refusal(path).endswith("name them: -s data.image_column=NAME -s data.label_column=NAME")


@pytest.mark.parametrize(("name", "looked", "advice"), [
    ("1", "/1", "it is found with -s data.image_suffix=.png"),
    ("sub/1", "/sub/1", "it is found with -s data.image_folder=deep -s data.image_suffix=.png"),
    ("C:\\Users\\ann\\img\\1.png", "/C:\\Users\\ann\\img\\1.png", "there is 1.png: write paths relative to "),
    ("/home/ann/img/2.png", "/home/ann/img/2.png", "there is deep/sub/2.png: write paths relative to "),
    ("1.PNG", "/1.PNG", "there is 1.png: write paths relative to "),
    ("none.png", "/none.png", "mend or remove it, or name the folder of the images with -s data.image_folder=FOLDER"),
])  # fmt: skip
def test_what_is_not_there_is_looked_for(tmp_path: Path, name: str, looked: str, advice: str) -> None:
    images(tmp_path, ["0.png", "1.png", "deep/sub/1.png", "deep/sub/2.png"])
    message = refusal(csv(tmp_path, ["0.png", name]))
    assert message.startswith(f"{tmp_path}/d.csv:3: ") and f"{looked}: cannot be read (No such file" in message
    assert f": {advice}" in message


@pytest.mark.parametrize("name", ["https://x.org/1.png", "s3://bucket/1.png", "HTTP://x.org/1"])
def test_addresses_are_no_paths(tmp_path: Path, name: str) -> None:
    images(tmp_path, ["0.png"])
    said = "images at addresses are not fetched: download them first, and write their paths"
    assert refusal(csv(tmp_path, ["0.png", name])) == f"{tmp_path}/d.csv:3: {name}: {said}"


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    images(tmp_path, ["img/0.png", "img/1.png"])
    assert files(csv(tmp_path, ["img\\0.png", "img\\1.png"])) == [str(tmp_path / f"img/{row}.png") for row in range(2)]


@pytest.mark.parametrize(("lines", "said"), [
    (["0.png,a", "1.png,b"], "names an image (0.png), so there is no header: put one above it, such as image,label"),
    (["a;0.png;7", "b;1.png;7"], "names an image (0.png), so there is no header: put one above it, such as label,"),
    (["0,a", "1,b", "2,a"], "looks like an image's (0), so there is no header: put one above it, such as image,label"),
    (["x,a", "y,b", "z,a"], "looks like an image's (a), so"),
    (["/far/away/9.jpg,a", "/far/away/8.jpg,b"], "names an image (/far/away/9.jpg)"),
    (["C:\\x\\9.jpg,a", "C:\\x\\8.jpg,b"], "names an image (C:\\x\\9.jpg)"),
    (["noext,a", "1.png,b"], "names an image (noext)"),
    (["id,0.png", "a,1.png"], "names an image (0.png)"),
])  # fmt: skip
def test_a_missing_header(tmp_path: Path, lines: list[str], said: str) -> None:
    images(tmp_path, ["0.png", "1.png"])
    (tmp_path / "0.png").with_name("noext").write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "d.csv").write_text("\n".join(lines))
    assert refusal(tmp_path / "d.csv").startswith(f"{tmp_path}/d.csv:1: the first line {said}")


def test_a_missing_header_is_not_made_one_by_options(tmp_path: Path) -> None:
    images(tmp_path, ["0.png", "1.png", "2.png"])
    (tmp_path / "d.csv").write_text("0.png,a\n1.png,b\n2.png,a")
    assert "so there is no header" in refusal(tmp_path / "d.csv", image_column="0.png", label_column="a")


def test_a_header_of_other_words_is_one(tmp_path: Path) -> None:
    images(tmp_path, ["0.png", "1.png"])
    assert len(files(csv(tmp_path, ["0.png", "1.png"], "Bild,Sorte"))) == 2


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    images(tmp_path, ["ä.png", "漢.png"])
    assert len(files(csv(tmp_path, ["ä.png", "漢.png"], encoding=encoding))) == 2


def test_an_encoding_that_is_not_known(tmp_path: Path) -> None:
    path = csv(tmp_path, ["0.png", "ä.png"], encoding="latin-1")
    assert refusal(path) == f"{path}:3: not UTF-8 text at byte 20: save it as UTF-8"
    path.write_bytes(b"\xff\xfea")
    assert refusal(path) == f"{path}:1: not UTF-16 text at byte 2: save it as UTF-8"


@pytest.mark.parametrize("text", [
    "image,label\n{0},a\n{1},b\n\n\n",
    "image,label,\n{0},a,\n{1},b,\n",
    "image,label,,\n{0},a\n{1},b,\n",
    "image,label\n{0},a,\n{1},b,,\n",
    "image,label\r\n{0},a\r\n{1},b\r\n,\r\n",
    " image , label \n {0} , a \n {1} , b \n",
    "\nimage,label\n{0},a\n{1},b",
    "sep=;\nimage;label\n{0};a\n{1};b",
    '"image";"label";"a, b, c"\n"{0}";"a";""\n"{1}";"b";"x"',
    'image,"a;b;c;d",label\n{0},x;y,a\n{1},";",b',
    ",image,label\n0,{0},a\n1,{1},b",
    "image,label\r{0},a\r{1},b\r",
    "image,label,note\n{0},a,\"two\nlines\"\n{1},b,x",
])  # fmt: skip
def test_dialects(tmp_path: Path, text: str) -> None:
    images(tmp_path, ["0.png", "1.png"])
    (tmp_path / "d.csv").write_bytes(text.replace("{0}", "0.png").replace("{1}", "1.png").encode())
    assert files(tmp_path / "d.csv") == [str(tmp_path / f"{row}.png") for row in range(2)]
    assert find_source(str(tmp_path / "d.csv"), None, DataConfig()).read().classes == ("a", "b")


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_another_form_of_unicode(tmp_path: Path, forms: tuple[str, str]) -> None:
    there, named = ([unicodedata.normalize(form, f"Käfer {row}.png") for row in range(2)] for form in forms)
    images(tmp_path, there)
    assert files(csv(tmp_path, named)) == [str(tmp_path / name) for name in there]


def test_a_tsv_is_separated_by_tabs(tmp_path: Path) -> None:
    images(tmp_path, ["0.png", "1.png"])
    (tmp_path / "d.tsv").write_text("image\tlabel, or class,,\n0.png\ta\n1.png\tb\n")
    assert len(files(tmp_path / "d.tsv")) == 2


@pytest.mark.parametrize(("own", "other", "doubts"), [
    ("train.csv", "test.csv", ("only train.csv is read, and not test.csv beside it",)),
    ("val.csv", "notes.csv", ("val.csv is called val and is trained on",)),
    ("d.csv", "test.csv", ()),
])  # fmt: skip
def test_parts_beside_a_single_table(tmp_path: Path, own: str, other: str, doubts: tuple[str, ...]) -> None:
    images(tmp_path, ["0.png", "1.png"])
    csv(tmp_path, ["0.png", "1.png"]).rename(tmp_path / own)
    (tmp_path / other).write_text("image,label\n")
    assert find_source(str(tmp_path / own), None, DataConfig()).read().survey.doubts == doubts
