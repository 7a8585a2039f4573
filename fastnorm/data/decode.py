"""Reading image files of every kind: one 8-bit RGB image, or one line that says why not.

`fastnorm.images.pil` converts decoded images; here are files, and what can be wrong with them.

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

import io
import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from fastnorm.data.text import one_line, printable
from fastnorm.images import pil

_UPRIGHT = 1  # the EXIF orientation of an upright image
_ORIENTATION_IGNORED = (
    "an EXIF orientation, which is ignored, as published pipelines and this library's exif='ignore' do; to turn "
    "images upright: exif='apply'"
)


class ImageError(Exception):
    """One file that cannot be used, in one line: `path: got ..., expected ...; how to fix it`."""

    def __init__(self, path: Path, got: str, expected: str, fix: str) -> None:
        super().__init__(f"{printable(str(path))}: got {got}, expected {expected}; {fix}")


class Decoded(NamedTuple):
    """An RGB image, and notes about how it was read."""

    image: Image.Image
    notes: tuple[str, ...]


def read_rgb(path: Path, alpha: str = "error", exif: str = "ignore") -> Decoded:
    """The file's image in mode RGB.

    Args:
        path: An image file in any format that Pillow reads.
        alpha: What happens to transparent pixels: "error", "drop" (their hidden colour shows) or "white".
        exif: What happens to an EXIF orientation: "ignore", "apply" or "error".

    Raises:
        ImageError: The file cannot be used; no other error is raised, whatever its content.
    """
    return _decoded(path, path, alpha, exif)


def decode_rgb(data: bytes, name: Path, alpha: str = "error", exif: str = "ignore") -> Decoded:
    """The same of a file's bytes; `name` is what an error calls it."""
    return _decoded(data, name, alpha, exif)


def _decoded(source: Path | bytes, path: Path, alpha: str, exif: str) -> Decoded:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image, notes = _read(source, path, alpha, exif)
        except ImageError:
            raise
        except UnidentifiedImageError:
            raise _not_an_image(path) from None
        except Image.DecompressionBombError as error:
            reason = str(error).partition(",")[0]  # the rest of Pillow's text speaks of an attack
            raise ImageError(
                path,
                f"too many pixels ({reason})",
                "an image of ordinary size",
                "reduce it with the program that made it",
            ) from None
        except Exception as error:
            # Decoders let through whatever their parsers raise: OSError, SyntaxError, ValueError, struct.error, ...
            reason = getattr(error, "strerror", None) or one_line(str(error)) or type(error).__name__
            raise ImageError(
                path, f"a file that cannot be read ({reason})", "a complete image", "copy or save it again"
            ) from None
    notes += [f"Pillow warns: {one_line(str(warning.message))}" for warning in caught]
    return Decoded(image, tuple(dict.fromkeys(notes)))


def _read(source: Path | bytes, path: Path, alpha: str, exif: str) -> tuple[Image.Image, list[str]]:
    if (len(source) if isinstance(source, bytes) else source.stat().st_size) == 0:
        raise ImageError(path, "an empty file (0 bytes)", "an image", "copy or save it again")
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        notes = _frame_notes(image)
        try:
            rgb = pil.to_rgb(image, alpha, exif)
        except pil.ConversionError as error:
            raise ImageError(path, *_parts(error)) from None
        # Only now: Pillow looks for a PNG's tags by decoding it, and where that fails, would not fail again.
        if exif == "ignore" and _orientation(image) != _UPRIGHT:
            notes.append(_ORIENTATION_IGNORED)
        return rgb, notes


def _frame_notes(image: Image.Image) -> list[str]:
    # The further images in a telephone's MPO file are previews and brightness maps of the first.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return [f"holds {frames} frames or pages; the first is used"] if frames > 1 else []


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT))
    except Exception:  # a damaged tag is no reason to refuse an image whose tags are ignored
        return _UPRIGHT


def _parts(error: pil.ConversionError) -> tuple[str, str, str]:
    return error.got, error.expected.removeprefix("expected "), error.fix


def _not_an_image(path: Path) -> ImageError:
    if path.suffix.lower() in (".heic", ".heif"):
        return ImageError(path, "a HEIC file, which Pillow does not read", "an image", "export it as JPEG")
    return ImageError(
        path,
        "a file that Pillow does not recognise",
        "an image, such as JPEG, PNG or WebP",
        "convert it, or copy it again",
    )
