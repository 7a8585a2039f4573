"""The contact sheet: every image, both of its tensors shown as images, and the tensors' histograms.

The result of the comparison is below the title. A row reads from left to right: the whole decoded image; the VAE's
and CLIP's tensors, where black is the smallest possible value and white the largest; and how often each value occurs,
per channel. CLIP's channels have different means and standard deviations, so its image is tinted where the VAE's is
not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageChops, ImageDraw

from fastnorm.cli import fonts
from fastnorm.spec.geometry import Size
from fastnorm.spec.normalization import CHANNELS, Normalization
from fastnorm.spec.target import Target
from fastnorm.verification import oracle

MARGIN = 40
GAP = 20
SOURCE = 300  # the width of the image's panel; photographs are wider than tall
THUMB = 224  # the height of all panels, and CLIP's own size, whose pixels are then drawn one to one
HISTOGRAM = 400
CAPTION = 34
ROW = CAPTION + THUMB + 26
HEADER = 194
FOOTER = 22
WIDTH = 2 * MARGIN + SOURCE + 2 * THUMB + 3 * GAP + HISTOGRAM

_PAPER, _PANEL, _RANGE = (22, 24, 29), (30, 33, 40), (40, 44, 53)
_INK, _SOFT, _LINE = (236, 238, 242), (150, 156, 168), (88, 94, 107)
_GOOD, _BAD = (98, 214, 138), (255, 118, 104)
_CHANNEL_COLOURS = ((232, 78, 78), (74, 190, 98), (82, 126, 246))
_BINS = 64  # four pixel values each
_FINER = 3  # histograms are drawn this much larger, then reduced, which smooths their edges


_COLUMNS = (MARGIN, MARGIN + SOURCE + GAP, MARGIN + SOURCE + THUMB + 2 * GAP, WIDTH - MARGIN - HISTOGRAM)


class Row(NamedTuple):
    """One image: its name, its size, the image scaled to its panel, and a tensor (3, H, W) per target."""

    name: str
    size: Size
    image: Image.Image
    tensors: Sequence[torch.Tensor]

    @classmethod
    def of(cls, name: str, pixels: torch.Tensor, tensors: Sequence[torch.Tensor]) -> Row:
        """From uint8 pixels (H, W, 3) and the tensors, all on the CPU; keeps no view of them."""
        image = fitting(Image.fromarray(pixels.numpy()), SOURCE, THUMB)
        return cls(name, Size(*pixels.shape[:2]), image, [tensor.clone() for tensor in tensors])


class Verdict(NamedTuple):
    """How many of how many values differ, and from what."""

    differing: int
    values: int
    published: str

    def __str__(self) -> str:
        return f"{self.found} {self.source}"

    @property
    def found(self) -> str:
        return f"{self.differing:,} of {self.values:,} values differ"

    @property
    def source(self) -> str:
        return f"from {self.published}"


class Span(NamedTuple):
    """What a target can output: per channel, the values of pixel values 0 and 255."""

    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def of(cls, target: Normalization) -> Span:
        values = oracle.table(target, torch.float32)
        return cls(values[:, 0], values[:, -1])

    @property
    def ends(self) -> tuple[float, float]:
        return float(self.low.min()), float(self.high.max())


def draw(rows: Sequence[Row], targets: Sequence[Target], title: str, subtitle: str, verdict: Verdict) -> Image.Image:
    """The finished sheet for two targets; `rows` holds at least one image."""
    sheet = Image.new("RGB", (WIDTH, HEADER + len(rows) * ROW + FOOTER), _PAPER)
    pen = ImageDraw.Draw(sheet)
    spans = [Span.of(target.normalization) for target in targets]
    _draw_header(pen, targets, spans, title, subtitle, verdict)
    for index, row in enumerate(rows):
        _draw_row(sheet, pen, HEADER + index * ROW, row, targets, spans)
    return sheet


def fitting(image: Image.Image, width: int, height: int) -> Image.Image:
    """All of the image, in proportion, as large as a panel of this size allows."""
    scale = min(width / image.width, height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def displayed(tensor: torch.Tensor, span: Span) -> Image.Image:
    """A (3, H, W) tensor as an image: the smallest value any channel can take is black, the largest white."""
    low, high = span.ends
    codes = ((tensor.float() - low) * (255 / (high - low))).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(codes.permute(1, 2, 0).contiguous().numpy())


def histogram(tensor: torch.Tensor, span: Span) -> npt.NDArray[np.float64]:
    """Counts per channel and bin, shape (3, bins); a bin holds four pixel values, with its edges between them."""
    counts = []
    for channel in range(CHANNELS):
        low, high = float(span.low[channel]), float(span.high[channel])
        half_step = (high - low) / (oracle.CODES - 1) / 2
        values = tensor[channel].float().numpy()
        counts.append(np.histogram(values, bins=_BINS, range=(low - half_step, high + half_step))[0])
    return np.asarray(counts, dtype=np.float64)


def _draw_header(
    pen: ImageDraw.ImageDraw,
    targets: Sequence[Target],
    spans: Sequence[Span],
    title: str,
    subtitle: str,
    verdict: Verdict,
) -> None:
    pen.text((MARGIN, 26), title, _INK, fonts.plain(28))
    large = fonts.plain(28)
    pen.text((MARGIN, 94), verdict.found, _BAD if verdict.differing else _GOOD, large, anchor="ls")
    beside = MARGIN + large.getlength(verdict.found) + 12
    pen.text((beside, 94), *_fitted(verdict.source, 16, WIDTH - MARGIN - beside, _INK), anchor="ls")
    pen.text((MARGIN, 110), *_fitted(subtitle, 15, WIDTH - 2 * MARGIN, _SOFT))
    columns = [("decoded image", "uint8, its own size, fitted to the panel")]
    for target, span in zip(targets, spans, strict=True):
        low, high = span.ends
        columns.append((f"{_label(target)} tensor", f"{low:.2f} black to {high:.2f} white"))
    columns.append(("histograms of both tensors", "R, G, B; height: square root of the count"))
    for x, (heading, detail) in zip(_COLUMNS, columns, strict=True):
        pen.text((x, 148), heading, _INK, fonts.plain(16))
        pen.text((x, 169), detail, _SOFT, fonts.plain(13))


def _draw_row(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    top: int,
    row: Row,
    targets: Sequence[Target],
    spans: Sequence[Span],
) -> None:
    pen.line((MARGIN, top + 6, WIDTH - MARGIN, top + 6), _RANGE)
    sizes = ", ".join(
        f"{_label(target)} {_shown(Size(*tensor.shape[-2:]))}"
        for target, tensor in zip(targets, row.tensors, strict=True)
    )
    caption = f"  {_shown(row.size)}  to  {sizes}"
    plain = fonts.plain(14)
    name, ink, font = _fitted(row.name, 14, WIDTH - 2 * MARGIN - plain.getlength(caption), _INK)
    baseline = top + 24
    pen.text((MARGIN, baseline), name, ink, font, anchor="ls")
    pen.text((MARGIN + font.getlength(name), baseline), caption, _SOFT, plain, anchor="ls")
    top += CAPTION
    pen.rectangle((MARGIN, top, MARGIN + SOURCE - 1, top + THUMB - 1), _PANEL)
    width, height = row.image.size
    sheet.paste(row.image, (MARGIN + (SOURCE - width) // 2, top + (THUMB - height) // 2))
    for x, tensor, span in zip(_COLUMNS[1:], row.tensors, spans, strict=False):
        sheet.paste(displayed(tensor, span).resize((THUMB, THUMB), Image.Resampling.LANCZOS), (x, top))
    left = _COLUMNS[-1]
    ends = [end for span in spans for end in span.ends]
    axis = min(ends), max(ends)  # one axis for all panels, so that they can be compared
    height = (THUMB - (len(spans) - 1) * 8) // len(spans)
    for index, (tensor, target, span) in enumerate(zip(row.tensors, targets, spans, strict=True)):
        _draw_panel(sheet, pen, (left, top + index * (height + 8)), height, tensor, _label(target), span, axis)


def _draw_panel(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    height: int,
    tensor: torch.Tensor,
    label: str,
    span: Span,
    axis: tuple[float, float],
) -> None:
    left, top = corner
    bottom = top + height - 22  # tick labels go below
    first, last = left + 56, left + HISTOGRAM - 20  # room for the label, and for half a tick label

    def x_of(value: float) -> float:
        return first + (value - axis[0]) / (axis[1] - axis[0]) * (last - first)

    low, high = span.ends
    pen.rectangle((left, top, left + HISTOGRAM - 1, bottom), _PANEL)
    pen.rectangle((round(x_of(low)), top, round(x_of(high)), bottom), _RANGE)
    box = (left, top, left + HISTOGRAM, bottom)
    curves = _curves(histogram(tensor, span), span, x_of, box)
    sheet.paste(ImageChops.screen(sheet.crop(box), curves), box[:2])
    pen.line((left, bottom, left + HISTOGRAM - 1, bottom), _LINE)
    for value in (low, 0.0, high):
        x = round(x_of(value))
        pen.line((x, bottom, x, bottom + 4), _LINE)
        text = "0" if value == 0 else f"{value:+.2f}"
        pen.text((x, bottom + 6), text, _SOFT, fonts.plain(12), anchor="mt")
    pen.text((left + 8, top + 6), label, _INK, fonts.plain(13))


def _curves(
    counts: npt.NDArray[np.float64], span: Span, x_of: Callable[[float], float], box: tuple[int, int, int, int]
) -> Image.Image:
    """The channels' curves on black, the size of `box`; overlaps add up like coloured light."""
    left, top, right, bottom = box
    size = ((right - left) * _FINER, (bottom - top) * _FINER)
    heights = np.sqrt(counts / counts.max()) * (bottom - top - 8) * _FINER
    light = Image.new("RGB", size)
    for channel, colour in enumerate(_CHANNEL_COLOURS):
        ends = x_of(float(span.low[channel])), x_of(float(span.high[channel]))
        edges = (np.linspace(*ends, _BINS + 1) - left) * _FINER
        outline = [(edges[0], size[1])]
        for bin_, height in enumerate(heights[channel]):
            outline += [(edges[bin_], size[1] - height), (edges[bin_ + 1], size[1] - height)]
        outline.append((edges[-1], size[1]))
        layer = Image.new("RGB", size)
        ImageDraw.Draw(layer).polygon([(float(x), float(y)) for x, y in outline], fill=colour)
        light = ImageChops.screen(light, layer)
    return light.reduce(_FINER)


def _label(target: Target) -> str:
    return target.normalization.name.upper()


def _shown(size: Size) -> str:
    return f"{size.height} x {size.width}"


def _fitted(
    text: str, size: int, width: float, colour: tuple[int, int, int]
) -> tuple[str, tuple[int, int, int], fonts.Font]:
    """What `ImageDraw.text` takes to draw `text`, shortened in its middle to fit, in a font that has its characters."""
    text, font = fonts.lettered(text, size)
    kept = len(text)
    shown = text
    while kept > 8 and font.getlength(shown) > width:
        kept -= 1
        shown = f"{text[: kept // 2]} ... {text[-(kept - kept // 2) :]}"
    return shown, colour, font
