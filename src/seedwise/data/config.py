"""Options of the data."""

from typing import Annotated, Any, Literal, TypedDict

from pydantic import BeforeValidator, Field, field_validator, model_validator

from seedwise.base.user_code import ImportPath
from seedwise.config.section import Section


def _share(value: Any) -> Any:
    """Refuse what is neither a fraction nor a whole number, in one message in place of pydantic's two."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    is_fraction = isinstance(value, float) and 0 <= value < 1
    if not (is_count or is_fraction):
        raise ValueError("give a fraction in [0, 1) such as 0.1 or a whole number of images such as 5000")
    return value


def _test_share(value: Any) -> Any:
    return value if value == "none" else _share(value)


def _range(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(it) in (int, float) for it in value):
        low, high = value
        if low < high:
            return (float(low), float(high))
    raise ValueError("give two numbers, what is black and what is white, such as [0, 4095]")


def _fold(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(it) is int for it in value):
        number, count = value
        if 1 <= number <= count and count >= 2:
            return (number, count)
    raise ValueError("give which part is left out, and of how many, such as [1, 5]")


Storage = Literal["decoded", "encoded"]
"""How images are kept for training."""
Order = Literal["content", "listing"]
"""What the order of the rows follows from: all images' pixels, or the names of their files."""


class StorageResolution(TypedDict):
    """Short sides in pixels at which larger photos are stored: all photos, and those to train on."""

    short_side: int
    train_short_side: int


Share = Annotated[int | float, BeforeValidator(_share)]
TestShare = Annotated[int | float | Literal["none"], BeforeValidator(_test_share)]
PixelRange = Annotated[tuple[float, float], BeforeValidator(_range)]


class DataConfig(Section):
    """The images to train on and to hold out, and how they are read."""

    val: Share = 0.1
    """Validation images, stratified by class: a fraction in [0, 1) of the training part, or a whole number of images;
    0 trains on everything, without any selection. CIFAR-100 holds out 5,000 of 50,000. A source with its own validation
    part uses that part instead (and ignores it at 0)."""

    test: TestShare = 0.2
    """Test images that are carved out, stratified, before validation, when the source has no test part of its own: a
    fraction in [0, 1) of all its images, or a whole number; 0 leaves no test. A source's own test part is always
    used, unless this is `none`: then there is no test part, and one without labels is left alone."""

    split_seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every split, 0 or more. It is not the run's seed: all runs of a study share one split unless this is
    changed on purpose."""

    limit: Annotated[int, Field(ge=2)] | None = None
    """Train on this many images (2 or more, at least one a class), stratified; null trains on all. Taken after the
    split, so validation and test stay the same; the images of a smaller limit are among those of a larger one, so
    learning curves are paired."""

    bootstrap: bool = False
    """Train on a bootstrap sample: as many images as there are (after `limit`), drawn with replacement by the run's
    seed (Breiman 1996, Machine Learning 24, 123-140), so that every seed sees another one. About 37% are not drawn; the
    run answers for them too (`oob` in its predictions). Copies of an image have augmentation draws of their own."""

    fold: Annotated[tuple[int, int], BeforeValidator(_fold)] | None = None
    """Train without one of so many equal parts of the training images (after `limit`), stratified, as [1, 5] is
    without the first of five; the run answers for that part (`oob` in its predictions). Runs on all folds judge every
    training image by a network that did not see it: cross-validation. Not with `bootstrap`; null trains on all."""

    download: bool = False
    """Fetch cifar10 or cifar100 from the internet when no local copy is found (a published archive of 170 MB, checked
    by its MD5, kept beside the decoded images); false never touches the network."""

    image_column: str | None = None
    """Column of a Parquet file or a CSV that holds the images (bytes, or paths relative to the file), in any case and
    spelling; null finds it."""

    label_column: str | None = None
    """Column of a Parquet file or a CSV that holds the labels (strings or integers), in any case and spelling; null
    finds it, and names for integers in a column beside it."""

    split_column: str | None = None
    """Column of a Parquet file or a CSV that says the part of each row (train, val, test, or true and false for a
    column such as is_valid); null finds it, in columns of that kind and in the folders of image paths, and refuses
    what may be meant so but is not clear, such as fold numbers; `none` takes no column for it."""

    image_folder: str | None = None
    """Folder that the image names in a CSV or a Parquet file start from, relative to that file; null is its own."""

    image_suffix: str | None = None
    """What is added to each image name in a CSV or a Parquet file that does not end so, such as .jpg when they are
    bare ids; null adds nothing."""

    class_level: Annotated[int, Field(ge=1)] | Literal["leaf"] | None = None
    """Which folders are the classes, in a folder or an archive of images: 1 are those in the part (or the topmost of
    which there are several), 2 those below them, and so on; `leaf` those that the images lie in; null is 1, and 1
    written out says that folders called like parts (train, test, ...) are classes too."""

    min_per_class: Annotated[int, Field(ge=1)] | None = None
    """Leave out classes with fewer images than this in the training part, before any split; they are named. null keeps
    all: of a class with one image it is trained on and never scored."""

    join_spellings: bool = False
    """Take classes whose names differ only in case, blanks, - or _ (`Red Deer` and `red_deer`), or are one number (1
    and 01), for one class, called as most of its training images are; which were joined is said. false keeps them
    apart, and doubts them."""

    skip_damaged: bool = False
    """Leave out images that can't be read; how many and which is said, and stands in record.json. false refuses data
    that hold any, and names them."""

    pixel_range: PixelRange | None = None
    """What is black and what is white in images of more than 8 bits or of floats, as [low, high] such as [0, 4095]; one
    range for all images. null takes it from the images when all agree on one of [0, 1], [0, 255], [0, 4095] and
    [0, 65535]. Images of 8 bits are not touched by it."""

    storage: Storage | None = None
    """How images are kept while they are trained on, with the same weights: `decoded` writes the pixels of all of them
    to the cache once, before the first step; `encoded` leaves the files where they are, and processes decode them
    ahead, in every epoch. null, or `auto`, is decoded while it fits a quarter of the free disk, or has been done
    before. Parquet files and compressed tar archives can't be read image by image; encoded copies theirs to the cache
    as they are."""

    order: Order | None = None
    """What splits, samples and shuffling start from: `content` orders the images by their pixels, so that any form of
    the same images gives the same weights, and looks at all of them before the first step; `listing` orders them by
    their names, and looks at a sample. null, or `auto`, is content below 2 GiB of files, else listing; `skip_damaged`
    looks at all images, so it needs content, and with it null is that."""

    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes that decode ahead with `storage` encoded, 1 or more; null takes this run's share of the cores."""

    factory: ImportPath | None = None
    """Your own data in place of what DATA names, which is then only a name: `my_pkg.data:load`, an import path from the
    current folder or the Python path. It is called without arguments at every start and returns `{"classes": [...],
    "train": (images, labels)}`, and `"val"` and `"test"` if there are any; see docs/own-code.md."""

    @field_validator("storage", "order", mode="before")
    @classmethod
    def _by_the_rule(cls, chosen: object) -> object:
        """`auto` is null: a rule chooses, and nothing of it is fixed for the run's weights."""
        return None if chosen == "auto" else chosen

    @model_validator(mode="after")
    def _check_samples(self) -> "DataConfig":
        if self.bootstrap and self.fold is not None:
            raise ValueError("fold: not with data.bootstrap, which leaves out images of its own; drop one of them")
        if self.order == "listing" and self.skip_damaged:
            raise ValueError("order: listing looks at no image before training; drop it, or data.skip_damaged")
        return self

    def reading(self) -> list[str]:
        """Options that change which images are read and aren't at their default, a line each, for a stamp."""
        names = ("image_column", "label_column", "split_column", "image_folder", "image_suffix", "class_level")
        values = {name: getattr(self, name) for name in (*names, "min_per_class")}
        values["test"] = self.test if self.test == "none" else None
        for name in ("join_spellings", "skip_damaged"):
            values[name] = getattr(self, name) or None
        return [f"data.{name}={value!r}" for name, value in values.items() if value is not None]
