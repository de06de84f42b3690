"""Tables that say which image is what, as people have them, with what comes of each: docs/data.md is made from it.

Images that a CSV names are made of noise. A Parquet file holds as many images as its list has labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Labels = Sequence[str | int]


@dataclass(frozen=True)
class Table:
    """A folder with tables in it: what is given as DATA, and what it is read as, or the words of a refusal."""

    title: str
    files: Mapping[str, str | Labels]
    images: Sequence[str] = ()
    data: str = "d.csv"
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: str = ""
    options: dict[str, object] = field(default_factory=dict)
    doubt: str = ""
    passed_over: tuple[tuple[str, str, int], ...] = ()


FOUR = ("1.png", "2.png", "3.png", "4.png")
ONE_EACH = {"train": {"cat": 1, "dog": 1}}
TWO_EACH = {"train": {"cat": 2, "dog": 2}}


def csv(*lines: str) -> str:
    return "\n".join(lines) + "\n"


UNDERSTOOD = [
    Table(
        "A CSV (or TSV; commas, semicolons, tabs or bars) with a column of images and one of labels, called as they "
        "usually are, in any case; blanks around values don't count",
        {"d.csv": csv("Image,Label", "1.png, cat", "2.png,dog ", "3.png,cat", "4.png,dog")},
        FOUR,
        parts=TWO_EACH,
    ),
    Table(
        "A column that says the part of each row, under any of its usual names",
        {
            "d.csv": csv(
                "filename;class;Split", "1.png;cat;train", "2.png;dog;Training", "3.png;cat;dev", "4.png;dog;test"
            )
        },
        FOUR,
        parts=ONE_EACH | {"val": {"cat": 1}, "test": {"dog": 1}},
    ),
    Table(
        "The same as true and false",
        {"d.csv": csv("path,label,is_valid", "1.png,cat,False", "2.png,dog,False", "3.png,cat,True", "4.png,dog,True")},
        FOUR,
        parts=ONE_EACH | {"val": {"cat": 1, "dog": 1}},
    ),
    Table(
        "Bare ids: the folder and the suffix are options",
        {"d.csv": csv("image_id,label", "a1,cat", "a2,dog")},
        ("train_images/a1.jpg", "train_images/a2.jpg"),
        options={"image_folder": "train_images", "image_suffix": ".jpg"},
        parts=ONE_EACH,
    ),
    Table(
        "Numbers beside their names: the names are the classes, in the order of the numbers",
        {"d.csv": csv("image,label,label_name", "1.png,1,cat", "2.png,0,dog")},
        FOUR[:2],
        parts=ONE_EACH,
    ),
    Table(
        "A path with a Windows machine's separators",
        {"d.csv": csv("image,label", "pets\\1.png,cat", "pets\\2.png,dog")},
        ("pets/1.png", "pets/2.png"),
        parts=ONE_EACH,
    ),
    Table(
        "Test rows without labels, left out where asked for",
        {"d.csv": csv("image,label,split", "1.png,cat,train", "2.png,dog,train", "3.png,,test")},
        FOUR[:3],
        options={"test": "none"},
        parts=ONE_EACH,
        passed_over=(("rows", "no label", 1),),
    ),
    Table(
        "A folder whose labels stand in metadata.csv, as Hugging Face's imagefolder has them",
        {
            "d/train/metadata.csv": csv("file_name,label", "1.png,cat", "2.png,dog"),
            "d/test/metadata.csv": csv("file_name,label", "1.png,cat"),
        },
        ("d/train/1.png", "d/train/2.png", "d/test/1.png"),
        data="d",
        parts=ONE_EACH | {"test": {"cat": 1}},
    ),
    Table(
        "Roboflow's _classes.csv",
        {
            "d/train/_classes.csv": csv("filename, cat, dog", "1.png, 1, 0", "2.png, 0, 1"),
            "d/valid/_classes.csv": csv("filename, cat, dog", "1.png, 0, 1"),
        },
        ("d/train/1.png", "d/train/2.png", "d/valid/1.png"),
        data="d",
        parts=ONE_EACH | {"val": {"dog": 1}},
    ),
    Table(
        "A Parquet file with images and labels in it", {"d.parquet": ["cat", "dog"]}, data="d.parquet", parts=ONE_EACH
    ),
    Table(
        "Shards of Parquet as the Hugging Face hub names them; splits that are no parts are passed over",
        {
            "d/train-00000-of-00002.parquet": ["cat", "dog"],
            "d/train-00001-of-00002.parquet": ["cat", "dog"],
            "d/dev-00000-of-00001.parquet": ["cat"],
            "d/train_extra-00000-of-00001.parquet": ["dog"],
        },
        data="d",
        parts=TWO_EACH | {"val": {"cat": 1}},
        passed_over=(("files", "split train_extra", 1),),
    ),
    Table(
        "A clone of a hub repository, its files in data/ or in the folder of its only configuration",
        {"d/plain_text/train-00000-of-00001.parquet": ["cat", "dog"], "d/README.md": "---\n"},
        data="d",
        parts=ONE_EACH,
    ),
    Table(
        "A clone whose README.md says which file is which split",
        {
            "d/data/foo.parquet": ["cat", "dog"],
            "d/data/bar.parquet": ["cat", "dog"],
            "d/README.md": "---\nconfigs:\n- data_files:\n  - {split: train, path: data/foo.parquet}\n"
            "  - {split: test, path: data/bar.parquet}\n---\n",
        },
        data="d",
        parts=ONE_EACH | {"test": {"cat": 1, "dog": 1}},
    ),
    Table(
        "Labels that may not be what was meant are said",
        {
            "d.csv": csv(
                "image,label", *(f"{row}.png,{name}" for row, name in enumerate(["1", "1.0", "cat", "Cat"] * 2, 1))
            )
        },
        tuple(f"{row}.png" for row in range(1, 9)),
        parts={"train": {"1": 2, "1.0": 2, "Cat": 2, "cat": 2}},
        doubt="classes that are the same number: '1' = '1.0'",
    ),
    Table(
        "One image under two labels is said",
        {"d.csv": csv("image,label", "1.png,cat", "1.png,dog", "2.png,dog")},
        FOUR[:2],
        parts={"train": {"cat": 1, "dog": 2}},
        doubt="1.png",
    ),
]

REFUSED = [
    Table(
        "A column that may say the parts, in words of its own",
        {"d.csv": csv("image,label,Usage", "1.png,cat,Training", "2.png,dog,PublicTest")},
        FOUR[:2],
        refused=r"Usage.*data\.split_column=none",
    ),
    Table(
        "Folds",
        {"d.csv": csv("image,label,fold", "1.png,cat,0", "2.png,dog,1")},
        FOUR[:2],
        refused=r"fold.*data\.split_column=none",
    ),
    Table(
        "Rows that were held out, nobody says for what",
        {"d.csv": csv("image,label,holdout", "1.png,cat,0", "2.png,dog,0", "3.png,cat,1")},
        FOUR[:3],
        refused=r"holdout.*take true as test with -s data\.split_column=holdout",
    ),
    Table(
        "A folder called like a part, beside others",
        {"d.csv": csv("image,label", "train/1.png,cat", "train/2.png,dog", "test/3.png,cat", "extra/4.png,dog")},
        ("train/1.png", "train/2.png", "test/3.png", "extra/4.png"),
        refused=r"images lie in test/ beside extra/ and train/.*data\.split_column=none",
    ),
    Table(
        "Test rows without labels",
        {"d.csv": csv("image,label,split", "1.png,cat,train", "2.png,dog,train", "3.png,,test")},
        FOUR[:3],
        refused=r"data\.test=none",
    ),
    Table(
        "No header",
        {"d.csv": csv("1.png,cat", "2.png,dog")},
        FOUR[:2],
        refused=r"d\.csv:1: .*no header: put one above it",
    ),
    Table(
        "An image that is not there",
        {"d.csv": csv("image_id,label", "a1,cat", "a2,dog")},
        ("train_images/a1.jpg", "train_images/a2.jpg"),
        refused=r"d\.csv:2: .*data\.image_folder=train_images.*data\.image_suffix=\.jpg",
    ),
    Table(
        "Half a data set",
        {"d/train-00000-of-00002-0a1b2c3d4e5f6789.parquet": ["cat", "dog"]},
        data="d",
        refused=r"1 of 2 files are there",
    ),
    Table(
        "A gap in the numbers of files",
        {"d/train_0.parquet": ["cat", "dog"], "d/train_2.parquet": ["cat", "dog"]},
        data="d",
        refused=r"train_\*\.parquet: numbered 0 to 2, but 1 is not there",
    ),
    Table(
        "One shard of several",
        {"train-00000-of-00002.parquet": ["cat", "dog"]},
        data="train-00000-of-00002.parquet",
        refused=r"train-00000-of-00002\.parquet: .*give the folder",
    ),
    Table(
        "Several configurations",
        {"d/small/train-00000-of-00001.parquet": ["cat"], "d/large/train-00000-of-00001.parquet": ["dog"]},
        data="d",
        refused=r"large.*small",
    ),
]
