"""Fonts for file names in any script: what a font lacks is spelled out, never drawn as a box.

Pillow's own font has ASCII and little else. A name is drawn in the first of these that has all its characters:

1. Pillow's own font;
2. DejaVu Sans, which matplotlib carries, where that is installed;
3. the fonts of FILES, where Pillow finds them in the system's folders, as `ImageFont.truetype` documents.

If none has them all, the one that lacks the fewest is taken. Of a character that it lacks, the letter without its
accents is drawn, if the font has that, and else the character's code, such as U+5199 as \\u5199.
"""

from __future__ import annotations

import functools
import importlib.util
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FILES = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf", # Linux
    "Arial Unicode.ttf", "Hiragino Sans GB.ttc", # macOS
    "segoeui.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf", # Windows
)  # fmt: skip

_NOBODY_S = "\U0010fffd"  # for private use: its glyph is what a font draws for characters that it lacks


@functools.cache
def plain(size: int) -> Font:
    """Pillow's own font, for ASCII."""
    return ImageFont.load_default(size=size)


def lettered(text: str, size: int) -> tuple[str, Font]:
    """`text` as it can be drawn, and the font to draw it in."""
    text = unicodedata.normalize("NFC", text)
    best, fewest = plain(size), len(text) + 1
    for font in _fonts(size):
        lacking = sum(not _has(font, character) for character in text)
        if lacking < fewest:
            best, fewest = font, lacking
        if lacking == 0:
            break
    return "".join(character if _has(best, character) else _spelled(best, character) for character in text), best


@functools.cache
def _has(font: Font, character: str) -> bool:
    return character.isprintable() and _glyph(font, character) != _glyph(font, _NOBODY_S)


def _glyph(font: Font, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


def _spelled(font: Font, character: str) -> str:
    base = unicodedata.normalize("NFKD", character)[0]
    return base if _has(font, base) else character.encode("ascii", "backslashreplace").decode()


def _fonts(size: int) -> Iterator[Font]:
    yield plain(size)
    for name in (*_of_matplotlib(), *FILES):
        font = _opened(name, size)
        if font is not None:
            yield font


@functools.cache
def _opened(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:  # not on this machine
        return None


def _of_matplotlib() -> list[str]:
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    return [str(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")]
