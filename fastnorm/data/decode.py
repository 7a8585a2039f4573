"""Reading image files of every kind: one 8-bit RGB picture, or one line that says why not.

What becomes of a decoded picture is `fastnorm.images.pil`'s business; here are files, and what can be wrong with them.

| the file holds | what happens |
|---|---|
| RGB, 8 bits a channel | taken as it is |
| grayscale, palette, black and white, CMYK, YCbCr, LAB | Pillow's own `convert("RGB")`, as published pipelines do |
| an EXIF orientation | ignored with a note, as the library's default is; `exif="apply"` or `"error"` chooses |
| an alpha channel or a transparent colour, every pixel opaque | alpha dropped: nothing is lost |
| the same, with transparent pixels | an error, as pipelines disagree; `alpha="drop"` or `"white"` chooses |
| 16-bit or 32-bit grayscale, integers or floats | an error: Pillow would clip everything above 255 |
| 16-bit RGB | Pillow's reading: the high byte of each value |
| several frames or pages | the first, with a note |
| more pixels than Pillow finds plausible | a note; above twice as many, an error |
| nothing (0 bytes), no image, a damaged or truncated one | an error |

Colour profiles are ignored, as published pipelines ignore them.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from fastnorm.cli._text import one_line, printable
from fastnorm.images import pil

_UPRIGHT = 1  # the EXIF orientation of a picture that needs no turning
_ORIENTATION_IGNORED = (
    "an EXIF orientation, which is ignored, as published pipelines and this library's exif='ignore' do; to turn "
    "pictures upright: --exif apply"
)


class ImageError(Exception):
    """One file that cannot be used, in one line: `path: what came; what was wanted; what mends it`."""

    def __init__(self, path: Path, came: str, wanted: str, mend: str) -> None:
        super().__init__(f"{printable(str(path))}: {came}; {wanted}; {mend}")


class Picture(NamedTuple):
    """An RGB image, and what the user should know about how it was read."""

    image: Image.Image
    notes: tuple[str, ...]


def read_rgb(path: Path, alpha: str = "error", exif: str = "ignore") -> Picture:
    """The file's picture in mode RGB.

    Args:
        path: An image file in any format that Pillow reads.
        alpha: What becomes of transparent pixels: "error", "drop" (their hidden colour shows) or "white".
        exif: What becomes of an EXIF orientation: "ignore", "apply" or "error".

    Raises:
        ImageError: The file cannot be used; whatever its content, nothing else is raised.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image, notes = _read(path, alpha, exif)
        except ImageError:
            raise
        except UnidentifiedImageError:
            raise _not_an_image(path) from None
        except Image.DecompressionBombError as error:
            reason = str(error).partition(",")[0]  # the rest of Pillow's text speaks of an attack
            raise ImageError(
                path, reason, "wanted a picture of ordinary size", "reduce it with the program that made it"
            ) from None
        except Exception as error:
            # Decoders let through whatever their parsers raise: OSError, SyntaxError, ValueError, struct.error, ...
            reason = getattr(error, "strerror", None) or one_line(str(error)) or type(error).__name__
            raise ImageError(
                path, f"cannot be read ({reason})", "wanted a complete, readable image", "copy or save it again"
            ) from None
    notes += [f"Pillow warns: {one_line(str(warning.message))}" for warning in caught]
    return Picture(image, tuple(dict.fromkeys(notes)))


def _read(path: Path, alpha: str, exif: str) -> tuple[Image.Image, list[str]]:
    if path.stat().st_size == 0:
        raise ImageError(path, "an empty file (0 bytes)", "wanted an image", "copy or save it again")
    with Image.open(path) as image:
        notes = _frame_notes(image)
        try:
            rgb = pil.to_rgb(image, alpha, exif)
        except pil.PictureError as error:
            raise ImageError(path, error.got, error.expected, _as_option(error.mend)) from None
        # Only now: Pillow looks for a PNG's tags by decoding it, and where that fails, would not fail again.
        if exif == "ignore" and _orientation(image) != _UPRIGHT:
            notes.append(_ORIENTATION_IGNORED)
        return rgb, notes


def _frame_notes(image: Image.Image) -> list[str]:
    # The further pictures in a telephone's MPO file are previews and brightness maps of the first.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return [f"holds {frames} frames or pages; the first is used"] if frames > 1 else []


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT))
    except Exception:  # a damaged tag is no reason to refuse a picture whose tags are ignored
        return _UPRIGHT


def _as_option(advice: str) -> str:
    """What the library advises, in the command line's spelling: alpha='drop' is --alpha drop."""
    return re.sub(r"\b(alpha|exif)='(\w+)'", r"--\1 \2", advice)


def _not_an_image(path: Path) -> ImageError:
    if path.suffix.lower() in (".heic", ".heif"):
        return ImageError(path, "a HEIC file, which Pillow does not read", "wanted an image", "export it as JPEG")
    return ImageError(
        path,
        "not an image that Pillow recognises",
        "wanted one such as JPEG, PNG or WebP",
        "convert it, or copy it again",
    )
