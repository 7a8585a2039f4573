"""Reading image files of every kind: one upright 8-bit RGB picture, or one line that says why not.

| the file holds | what happens |
|---|---|
| RGB, 8 bits a channel | taken as it is |
| grayscale, palette, black and white, CMYK, YCbCr, LAB | Pillow's own `convert("RGB")`, as published pipelines do |
| an EXIF orientation | applied, whatever the kind |
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

import warnings
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

from fastnorm.cli._text import one_line, printable

_DEEP_MODES = {"I": "32-bit integer grayscale", "F": "32-bit float grayscale"}
_OPAQUE = 255


class ImageError(Exception):
    """One file that cannot be used, in one line: `path: what came; what was wanted; what mends it`."""

    def __init__(self, path: Path, came: str, wanted: str, mend: str) -> None:
        super().__init__(f"{printable(str(path))}: {came}; {wanted}; {mend}")


class Picture(NamedTuple):
    """An RGB image, and what the user should know about how it was read."""

    image: Image.Image
    notes: tuple[str, ...]


def read_rgb(path: Path, alpha: str = "error") -> Picture:
    """The file's picture in mode RGB, upright.

    Args:
        path: An image file in any format that Pillow reads.
        alpha: What becomes of transparent pixels: "error", "drop" (their hidden colour shows) or "white".

    Raises:
        ImageError: The file cannot be used; whatever its content, nothing else is raised.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            image, notes = _read(path, alpha)
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


def crop_square(image: Image.Image, size: int, path: Path) -> Image.Image:
    """The short side resized to `size` (bilinear), then the centre: size x size pixels.

    Raises:
        ImageError: The picture is so narrow that resizing it would take gigabytes.
    """
    short = min(image.size)
    width, height = (size * side // short for side in image.size)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise ImageError(
            path,
            f"{image.width} x {image.height} pixels, which would become {width} x {height}",
            f"wanted a picture whose short side can be made {size}",
            "crop it first, or choose a smaller --size",
        )
    left, top = (width - size) // 2, (height - size) // 2
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _read(path: Path, alpha: str) -> tuple[Image.Image, list[str]]:
    if path.stat().st_size == 0:
        raise ImageError(path, "an empty file (0 bytes)", "wanted an image", "copy or save it again")
    with Image.open(path) as image:
        _refuse_deep(image, path)
        notes = _frame_notes(image)
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), alpha, path), notes


def _refuse_deep(image: Image.Image, path: Path) -> None:
    if image.mode.startswith("I;16"):
        came, to_8_bit = "16-bit grayscale", "numpy.asarray(image) // 257"
    elif image.mode in _DEEP_MODES:
        came, to_8_bit = _DEEP_MODES[image.mode], "numpy.asarray(image) * (255 / numpy.max(image))"
    else:
        return
    raise ImageError(
        path,
        f"{came} (mode {image.mode})",
        "wanted 8 bits a channel, as Pillow would clip all values above 255",
        f"save PIL.Image.fromarray(({to_8_bit}).astype('uint8'))",
    )


def _frame_notes(image: Image.Image) -> list[str]:
    # The further pictures in a telephone's MPO file are previews and brightness maps of the first.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return [f"holds {frames} frames or pages; the first is used"] if frames > 1 else []


def _to_rgb(image: Image.Image, alpha: str, path: Path) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    least, _ = rgba.getchannel("A").getextrema()
    if least == _OPAQUE or alpha == "drop":
        return rgba.convert("RGB")
    if alpha == "white":
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    raise ImageError(
        path,
        f"has transparent pixels (mode {image.mode})",
        "wanted opaque ones, as published pipelines disagree about the rest",
        "choose --alpha drop or --alpha white",
    )


def _not_an_image(path: Path) -> ImageError:
    if path.suffix.lower() in (".heic", ".heif"):
        return ImageError(path, "a HEIC file, which Pillow does not read", "wanted an image", "export it as JPEG")
    return ImageError(
        path,
        "not an image that Pillow recognises",
        "wanted one such as JPEG, PNG or WebP",
        "convert it, or copy it again",
    )
