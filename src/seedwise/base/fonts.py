"""Fonts for pictures that Pillow draws: its own, or one of this machine that has the letters."""

from functools import lru_cache

from PIL import ImageFont

FONTS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansKR-Regular.otf", "NanumGothic.ttf", "AppleSDGothicNeo.ttc", "malgun.ttf"),
    *("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial Unicode.ttf"),
)
"""Looked for where Pillow's own font lacks a letter."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def own(size: float) -> Font:
    """Pillow's own font, for Latin letters `size` pixels high."""
    return ImageFont.load_default(size)


@lru_cache(maxsize=256)
def font_for(letters: frozenset[str], size: int) -> Font | None:
    """The first font that has all of the letters; None without one."""
    for font in (own(size), *_others(size)):
        none = bytes(font.getmask("\uffff"))
        if all(letter.isspace() or bytes(font.getmask(letter)) != none for letter in letters):
            return font
    return None


@lru_cache(maxsize=8)
def _others(size: int) -> tuple[Font, ...]:
    found: list[Font] = []
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(found)
