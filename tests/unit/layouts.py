"""Every layout of images that seedwise understands, or refuses, with what comes of it: docs/data.md is made from it.

A tree is one line a folder, `train/cat/ 1.jpg 2.jpg`; images are made of noise, `.txt` and `.csv` of text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Layout:
    """A folder, and what it is read as: images by part and class, or the words of a refusal."""

    title: str
    tree: Sequence[str]
    parts: dict[str, dict[str, int]] = field(default_factory=dict)
    refused: str = ""
    options: dict[str, object] = field(default_factory=dict)
    passed_over: tuple[tuple[str, str, int], ...] = ()
    doubt: str = ""
    documented: bool = True


def folders(*names: str, images: int = 2) -> list[str]:
    """Folders of `1.png`, `2.png`, …"""
    return [f"{name}/ " + " ".join(f"{number}.png" for number in range(1, images + 1)) for name in names]


AB = {"a": 2, "b": 2}
CLASSES = {"cat": 2, "dog": 2}

UNDERSTOOD = [
    Layout("Class folders", folders("cat", "dog"), {"train": CLASSES}),
    Layout(
        "Parts, whatever their names' case: train or training; val, valid, validation or dev; test, testing, eval or "
        "evaluation",
        folders("Training/cat", "Training/dog", "valid/cat", "Testing/cat", "Testing/dog"),
        {"train": CLASSES, "val": {"cat": 2}, "test": CLASSES},
    ),
    *(
        Layout(
            name,
            folders(f"{train}/a", f"{train}/b", f"{other}/a", f"{other}/b"),
            {"train": AB, part: AB},
            documented=False,
        )
        for train, other, part, name in [
            ("train", "dev", "val", "dev"),
            ("train", "testing", "test", "testing"),
            ("TRAIN", "Eval", "test", "Eval"),
            ("training", "evaluation", "test", "evaluation"),
            ("Training", "Testing", "test", "Training and Testing"),
            ("train", "VALID", "val", "VALID"),
            ("train", "Validation", "val", "Validation"),
            ("training_set", "test_set", "test", "sets"),
            ("seg_train", "seg_test", "test", "words"),
            ("trainset", "testset", "test", "one word"),
        ]
    ),
    Layout("Only train/: val and test are drawn from it", folders("train/a", "train/b"), {"train": AB}),
    Layout(
        "Below any number of folders that hold nothing else",
        [
            *folders("kagglecatsanddogs/PetImages/cat", "kagglecatsanddogs/PetImages/dog"),
            "kagglecatsanddogs/ readme.txt",
        ],
        {"train": CLASSES},
        passed_over=(("files", "no image", 1),),
    ),
    Layout(
        "A wrapper in each part",
        folders("training_set/training_set/cat", "training_set/training_set/dog", "test_set/test_set/cat"),
        {"train": CLASSES, "test": {"cat": 2}},
        documented=False,
    ),
    Layout(
        "Parts within the classes",
        folders("cat/train", "cat/test", "dog/train", "dog/test"),
        {"train": CLASSES, "test": CLASSES},
    ),
    Layout(
        "Class folders, and a part beside them with the same classes",
        folders("cat", "dog", "test/cat", "test/dog"),
        {"train": CLASSES, "test": CLASSES},
    ),
    Layout(
        "Folders within class folders belong to the class",
        folders("cat", "cat/persian/old", "dog"),
        {"train": {"cat": 4, "dog": 2}},
    ),
    Layout(
        "Classes one level deeper, where asked for",
        folders("animals/cat", "animals/dog", "plants/rose"),
        {"train": {"cat": 2, "dog": 2, "rose": 2}},
        options={"class_level": 2},
    ),
    Layout(
        "The same without the option",
        folders("animals/cat", "animals/dog", "plants/rose"),
        {"train": {"animals": 4, "plants": 2}},
        doubt=r"the classes are animals/ and plants/, and folders lie in animals/ \(cat/ and dog/\)",
    ),
    Layout(
        "The folders that images lie in, wherever they are",
        folders("animals/cat", "animals/wild/lynx", "rose"),
        {"train": {"cat": 2, "lynx": 2, "rose": 2}},
        options={"class_level": "leaf"},
    ),
    Layout(
        "Names that begin with underscores or a dot",
        ["__background__/ __0AbCd.png 2.png", *folders(".net", "java")],
        {"train": {"__background__": 2, ".net": 2, "java": 2}},
        doubt=r"class '\.net' begins with a dot",
    ),
    Layout(
        "Spellings that differ in case or blanks are classes of their own, and said",
        folders("Red Deer", "red_deer", "elk"),
        {"train": {"Red Deer": 2, "elk": 2, "red_deer": 2}},
        doubt="classes that differ only in case, blanks or _: 'Red Deer' ~ 'red_deer'",
    ),
    Layout(
        "What systems and programs leave is passed over and counted",
        [
            *folders("cat", "dog", "cat/@eaDir", "lost+found", "System Volume Information", "$RECYCLE.BIN"),
            *folders(".ipynb_checkpoints", "__MACOSX/cat"),
            "cat/ .hidden.png Thumbs.db notes.txt film.mp4",
            "loose.png",
        ],
        {"train": CLASSES},
        passed_over=(
            ("files", ".mp4", 1),
            ("files", "beside the class folders", 1),
            ("files", "hidden", 1),
            ("files", "no image", 2),
            ("folders", "$RECYCLE.BIN", 1),
            ("folders", ".ipynb_checkpoints", 1),
            ("folders", "@eaDir", 1),
            ("folders", "System Volume Information", 1),
            ("folders", "__MACOSX", 1),
            ("folders", "lost+found", 1),
        ),
    ),
    Layout(
        "Other folders beside the parts are passed over",
        [*folders("train/a", "train/b", "test/a", "sample"), "annotations/ 1.xml", "train/ loose.png"],
        {"train": AB, "test": {"a": 2}},
        passed_over=(
            ("files", "beside the class folders", 1),
            ("files", "no image", 1),
            ("folders", "no images", 1),
            ("images", "sample/, beside the parts", 2),
        ),
    ),
    Layout(
        "A test part without labels, left out where asked for",
        [*folders("train/a", "train/b"), "test/ 1.png 2.png 3.png"],
        {"train": AB},
        options={"test": "none"},
        passed_over=(("images", "test/, by data.test=none", 3),),
    ),
    Layout(
        "Classes that are called like parts, where that is said",
        folders("train", "test_tube", "test"),
        {"train": {"train": 2, "test_tube": 2, "test": 2}},
        options={"class_level": 1},
    ),
    Layout(
        "A class that is called train, beside others",
        folders("train", "plane"),
        {"train": {"train": 2, "plane": 2}},
        doubt="class 'train' is called like a part",
        documented=False,
    ),
    Layout(
        "Stations",
        folders("train_station/day", "train_station/night", "bus_stop/day", "bus_stop/night"),
        {"train": {"train_station": 4, "bus_stop": 4}},
        doubt="each of the classes bus_stop/ and train_station/ holds day/ and night/",
        documented=False,
    ),
    Layout(
        "Parts below a wrapper",
        folders("brain/Training/a", "brain/Training/b", "brain/Testing/a"),
        {"train": AB, "test": {"a": 2}},
        documented=False,
    ),
    Layout(
        "Spelled in two ways",
        folders("caf\u00e9", "cafe\u0301", "tea"),
        {"train": {"caf\u00e9": 4, "tea": 2}},
        documented=False,
    ),
    Layout(
        "Wrappers called like the parts themselves",
        folders("train/train/a", "train/train/b", "test/test/a", "valid/Validation/b"),
        {"train": AB, "test": {"a": 2}, "val": {"b": 2}},
    ),
    Layout(
        "Unpacked into train/",
        folders("train/train/a", "train/train/b", "train/val/a"),
        {"train": AB, "val": {"a": 2}},
        documented=False,
    ),
    Layout(
        "A drive's folders",
        folders("train-20240101/train/a", "train-20240101/train/b", "test-20240101/test/a"),
        {"train": AB, "test": {"a": 2}},
        documented=False,
    ),
    Layout(
        "Class first, in words",
        folders("cat/cat_train", "cat/cat_test", "dog/training_set", "dog/test_set"),
        {"train": CLASSES, "test": CLASSES},
        documented=False,
    ),
    Layout(
        "Class first, wrapped",
        folders("cat/images/train", "cat/images/test", "dog/x/train", "dog/x/test"),
        {"train": CLASSES, "test": CLASSES},
        documented=False,
    ),
    Layout(
        "An unlabeled folder beside classes, left out",
        [*folders("cat", "dog"), "test/ 1.png"],
        {"train": CLASSES},
        options={"test": "none"},
        passed_over=(("images", "test/, by data.test=none", 1),),
        documented=False,
    ),
    Layout(
        "Unlabeled, one folder down",
        [*folders("train/a", "train/b"), "test/test/ 1.png"],
        {"train": AB},
        options={"test": "none"},
        passed_over=(("images", "test/, by data.test=none", 1),),
        documented=False,
    ),
    Layout(
        "A folder beside the parts that may be one is said",
        folders("train/a", "train/b", "test/a", "validate/a"),
        {"train": AB, "test": {"a": 2}},
        passed_over=(("images", "validate/, beside the parts", 2),),
        doubt="validate/ beside the parts may be one, and is not used",
    ),
    Layout(
        "Folders that hold the same folders are said",
        folders("tr/a", "tr/b", "te/a", "te/b"),
        {"train": {"te": 4, "tr": 4}},
        doubt=r"each of the classes te/ and tr/ holds a/ and b/: if these are parts, call them train/, val/ and test/",
    ),
    Layout(
        "A copy in a folder",
        folders("PlantVillage/a", "PlantVillage/b", "a", "b"),
        {"train": {"PlantVillage": 4, "a": 2, "b": 2}},
        doubt="PlantVillage/ holds a/ and b/, which are classes beside it",
        documented=False,
    ),
    Layout(
        "Data beside assets",
        [*folders("data/a", "data/b"), "assets/ logo.png"],
        {"train": {"assets": 1, "data": 4}},
        doubt=r"folders lie in data/ \(a/ and b/\): -s data\.class_level=2",
        documented=False,
    ),
    Layout(
        "An empty class",
        [*folders("a", "b"), "c/ notes.txt"],
        {"train": AB},
        options={"min_per_class": 1},
        passed_over=(("classes", "fewer than 1 images", 1), ("files", "no image", 1)),
        documented=False,
    ),
    Layout(
        "Other systems' folders",
        folders("a", "b", "Network Trash Folder", "lightning_logs/x", "LOST.DIR"),
        {"train": AB},
        passed_over=(
            ("folders", "LOST.DIR", 1),
            ("folders", "Network Trash Folder", 1),
            ("folders", "lightning_logs", 1),
        ),
        documented=False,
    ),
    Layout(
        "In a cloud",
        [*folders("a", "b"), "a/ .3.png.icloud"],
        {"train": AB},
        passed_over=(("files", "not downloaded", 1),),
        documented=False,
    ),
]

REFUSED = [
    Layout(
        "Parts without class folders",
        ["train/ 1.png 2.png", "valid/ 1.png", "test/ 1.png"],
        refused=r"test/, train/ and valid/ are parts, not classes, and images lie there without class folders: known",
    ),
    Layout(
        "The same with a table beside the images",
        ["train/ 1.png 2.png labels.csv", "test/ 1.png"],
        refused=r"if train/labels\.csv has the labels, (unpack it|give it: seedwise train .*/labels\.csv)",
    ),
    Layout("Labels in file names", ["train/ cat.0.jpg dog.0.jpg", "test1/ 1.jpg"], refused="are parts, not classes"),
    Layout(
        "Images in one folder, and a table",
        ["images/ 1.jpg 2.jpg", "sample_submission.csv", "train_labels.csv"],
        refused=r"only the class 'images' was found .*: if train_labels\.csv has the labels, (unpack it|give it)",
    ),
    Layout(
        "Loose images", ["1.jpg", "2.jpg", "notes.txt"], refused=r"no images in class folders .*, but 2 outside of them"
    ),
    Layout(
        "Held-out parts in every class",
        folders("cat/val", "cat/test", "dog/val", "dog/test"),
        refused=r"no class has train/ in it, only test/ and val/: add the images to train on",
        documented=False,
    ),
    Layout("Held-out parts alone", folders("val/a", "val/b", "test/a"), refused=r"and there is no train/ with images"),
    Layout(
        "A test part without labels",
        [*folders("train/a", "train/b"), "test/ 1.png 2.png 3.png"],
        refused=r"test/ holds 3 images without class folders, so no labels: .*-s data\.test=none; seedwise predict",
    ),
    Layout(
        "Two folders for one part",
        folders("train/a", "train/b", "Train/a", "test/a"),
        refused=r"Train/ and train/ both look like the training part: keep one",
    ),
    Layout(
        "A part beside class folders",
        folders("train/a", "train/b", "cat"),
        refused=r"train/ looks like a part, but cat/ beside it holds images, too: move cat/ away; .*class_level=1",
    ),
    Layout(
        "A part of images beside class folders",
        ["cat/ 1.png", "dog/ 1.png", "test/ 1.png 2.png"],
        refused=r"test/ looks like a part, but cat/ and dog/ beside it hold images, too: .*class_level=1",
    ),
    Layout(
        "Parts in some of the classes",
        folders("cat/train", "cat/test", "dog"),
        refused=r"cat/ has parts in it \(test/ and train/\), and dog/ something else: give every class",
    ),
    Layout(
        "Unlabeled validation", [*folders("train/a", "train/b"), "val/ 1.png"], refused="data.val=0", documented=False
    ),
    Layout(
        "Two test parts",
        folders("train/a", "train/b", "test/a", "eval/a"),
        refused="look like the test part",
        documented=False,
    ),
    Layout(
        "Prediction images",
        [*folders("seg_train/a", "seg_train/b"), "seg_pred/ 1.png"],
        refused="looks like a part",
        documented=False,
    ),
    Layout(
        "No class in train",
        folders("train/a", "train/b", "test/c"),
        refused="class 'c' is not in train/",
        documented=False,
    ),
]
