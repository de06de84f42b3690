"""Tells image files from others: by a known suffix, else by their first bytes.

No reader is loaded for that, nor is Pillow: 100,000 text files beside the images cost a second.
"""

import importlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from functools import cache

IMAGE = "image"
NO_IMAGE = "no image"
NOT_READABLE = "not readable"
HEAD = 4096
"""Bytes of a file's start that `kind_of` needs."""


def _suffixes(words: str) -> tuple[str, ...]:
    return tuple(f".{word}" for word in words.split())


SUFFIXES = _suffixes(
    "apng blp bmp bw cur dcx dds dib fit fits flc fli ftc ftu gbr gif icb icns ico iim im j2c j2k jfif jp2 jpc jpe "
    "jpeg jpf jpg jpx mpo msp pbm pcd pcx pfm pgm png pnm ppm psd pxr qoi ras rgb rgba sgi tga tif tiff vda vst webp "
    "xbm xpm"
)
"""Suffixes of Pillow's own readers, in lower case (and .mpo, which it registers for writing alone)."""

STUBS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
"""Pillow's readers that load no pixels by themselves; EPS is a program for Ghostscript to run."""

_SHARED = frozenset((".fit", ".gbr", ".im", ".msp", ".pcd", ".vst"))
"""Suffixes that files of other kinds have too (sports watches, circuit boards, point clouds): the content decides."""
_CERTAIN = frozenset(SUFFIXES) - _SHARED

_EXTRA = {
    **dict.fromkeys((".heic", ".heif", ".hif", ".heics", ".heifs"), ("HEIF", 'pip install "seedwise[heic]"')),
    **dict.fromkeys((".avif", ".avifs"), ("AVIF", "pip install --upgrade pillow")),
    ".jxl": ("JXL", "pip install pillow-jxl-plugin"),
}
"""Suffixes that an installed package may read: its format in Pillow, and how to get it."""

_CAMERA = _suffixes("3fr arw cr2 cr3 crw dcr dng erf kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f")
"""Raw photos: what Pillow opens in some of them is a thumbnail."""
_MEDIA = _suffixes(
    "3gp avi flv m2ts m4v mkv mov mp4 mpeg mpg mts ogv webm wmv ai cdr djvu emf eps kra pdf ps psb svg svgz wmf xcf "
    "bpg dcm exr flif hdr jls jxr mha mhd nii nrrd wdp"
)

_MAGIC = re.compile(
    rb"""\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II(?:\*\0|\0\*|\+\0)|MM(?:\0\*|\*\0|\0\+)
    |\0\0\0\x0cjP\x20\x20\r\n\x87\n|\xffO\xffQ|8BPS\0\x01|icns\0|DDS\x20\x7c\0\0\0|SIMPLE\x20\x20=|Y\xa6j\x95|\xb1h\xde:
    |qoif.{8}[\3\4][\0\1]|BLP[12][\0\1]\0\0\0|FTEX[\0-\x08]|(?:DanM|LinS)(?=.{0,27}\0)|\x80\xe8\0\0|P7\x20332
    |BM.{8}..\0\0[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0
    |[\x28\x34\x38\x40\x6c\x7c]\0\0\0.{8}\x01\0[\1\4\x08\x10\x18\x20]\0[\0-\3]\0\0\0  # DIB: a BMP without its head
    |\0\0[\1\2]\0[^\0]\0...\0                                                       # ICO, CUR
    |\n[\0\2\3\5][\0\1][\1\2\4\x08]                                                  # PCX
    |\x01\xda[\0\1][\1\2]\0[\1-\3]                                                     # SGI
    |\0{7}\x04.{32}\0\0\0[\1\2\4]                                                      # McIDAS
    |\?\x80\0\0.{12}\?\x80\0\0.{64}[\x44-\x48]|\0\0\x80\?.{12}\0\0\x80\?.{67}[\x44-\x48]   # SPIDER
    |.\0(?:[\2\n]\0{5}....(?!\0\0)..(?!\0\0)..[\x10\x18\x20]|[\3\x0b]\0{5}....(?!\0\0)..(?!\0\0)..[\1\x08\x10])[\0-\x3f]
    |.\x01[\1\t]\0\0..[\x10\x18\x20]....(?!\0\0)..(?!\0\0)..\x08[\0-\x3f]              # TGA with a palette
    |....[\x11\x12]\xaf.{6}\x08\0[\0\3]\0                                            # FLI, FLC
    |\0\0..\0\0\0\x02.{12}GIMP|\0\0\0[\x14-\xff]\0\0\0\x01\0\0..\0\0..\0\0\0[\1\4]       # GBR
    |/\*\x20XPM\x20\*/|\s*\#define[ \t]+\S*_width[ \t]+\d+[\r\n]+\#define[ \t]+\S*_height[ \t]+\d+[\r\n].*_bits\[\]
    |Image\x20type:[^\r\n]*\r\n(?:[^:\r\n]+:[^\r\n]*\r\n)*Image\x20size\x20\(x\*y\):
    |P(?:[456]|0CMYK|yP|yRGBA|yCMYK)\s(?:\s|\#[^\n]*\n)*\d+\s(?:\s|\#[^\n]*\n)*\d+\s
    |P[fF]\s+\d+\s+\d+\s+-?\d+(?:\.\d+)?\s
    |.{2048}PCD_""",
    re.DOTALL | re.VERBOSE,
)
"""The start of a file in a format that Pillow reads; more than its own test where that would take text for images."""
_PLAIN = re.compile(rb"P([123])((?:\s+|#[^\n]*\n)[\s\d#].*)", re.DOTALL)
_COMMENT = re.compile(rb"#[^\n]*")


def named_as_image(name: str) -> bool:
    """Whether a suffix is an image's, whether or not it can be read here."""
    return (suffix := os.path.splitext(name)[1].lower()) in SUFFIXES or suffix in _EXTRA  # noqa: PTH122


LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""Start of the file that Git leaves in place of a large one that was not fetched."""
LFS_ADVICE = "a Git LFS pointer: git lfs pull"
EMPTY = "empty"


def kind_of(name: str, read_head: Callable[[], bytes]) -> str:
    """`IMAGE`, or why a file is none: its suffix (.mp4) when that is a picture's or a film's, else `NO_IMAGE`.
    `read_head`: returns its first `HEAD` bytes; only called when the suffix does not decide."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 -- a Path for each of 100,000 files takes a second
    if suffix in _CERTAIN:
        return IMAGE
    if suffix in _CAMERA:
        return suffix
    try:
        head = read_head()
    except OSError:
        return NOT_READABLE
    found = sniff(head)
    if head.startswith(LFS_POINTER):
        return LFS_ADVICE
    if not head and suffix in _EXTRA:
        return EMPTY
    if found:
        return IMAGE if found == IMAGE or _EXTRA[found][0] in readers() else found
    return suffix if suffix in _MEDIA or suffix in _SHARED or suffix in _EXTRA else NO_IMAGE


def file_head(path: str) -> bytes:
    """Read the first `HEAD` bytes of a regular file; none of a pipe or a device, which might never end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", getattr(os, "O_BINARY", 0)))  # Windows: the latter
    try:
        return os.read(handle, HEAD) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
    finally:
        os.close(handle)


def sniff(head: bytes) -> str:
    """The format that a file's first bytes show: a suffix that an extra may read, `IMAGE`, or ''."""
    if head[4:8] == b"ftyp":
        brands = head[8 : max(16, min(int.from_bytes(head[:4], "big"), 256))]
        if re.search(rb"avi[fs]", brands):
            return ".avif"
        return ".heic" if re.match(rb"he[iv][cxms]|mif1|msf1", brands) else ""
    if head.startswith((b"\xff\n", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return ".jxl"
    if _MAGIC.match(head) or ((plain := _PLAIN.match(head)) and _is_plain(int(plain[1]), plain[2], len(head) < HEAD)):
        return IMAGE
    return ""


def _is_plain(kind: int, text: bytes, is_whole: bool) -> bool:
    """Whether the text after P1, P2 or P3 is an image's numbers, and not a person's table."""
    numbers = _COMMENT.sub(b"", text).split()
    if len(numbers) < 3 or not all(number.isdigit() for number in numbers):
        return False
    width, height = int(numbers[0]), int(numbers[1])
    samples = width * height * (3 if kind == 3 else 1) + (kind > 1)
    found = len(b"".join(numbers[2:])) if kind == 1 else len(numbers) - 2
    return samples > 0 and (found >= samples or not is_whole)


@cache
def readers() -> tuple[str, ...]:
    """Formats that Pillow can read here, with those of installed plugins for HEIC, AVIF and JPEG XL."""
    from PIL import Image, features

    Image.init()
    # Pillow lists AVIF even where it was built without it; the plugin takes the name over
    has_avif = "AVIF" in Image.ID and bool(features.check("avif"))
    for plugin, register in (("pillow_heif", "register_heif_opener"), ("pillow_avif", ""), ("pillow_jxl", "")):
        try:
            module = importlib.import_module(plugin)
        except ImportError:  # not installed, or its library is missing
            continue
        has_avif |= plugin == "pillow_avif"
        if register:
            getattr(module, register)()
    return tuple(name for name in Image.ID if name not in STUBS and (name != "AVIF" or has_avif))


def advice(counts: Mapping[str, int]) -> list[str]:
    """A line for each suffix, with its count of files, that an installed package would make readable."""
    return [
        f"{count} {reason} {'file is' if count == 1 else 'files are'} not read: {_EXTRA[reason][1]}"
        for reason, count in counts.items()
        if reason in _EXTRA
    ]
