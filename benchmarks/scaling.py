"""The arithmetic of a large run: bytes at every boundary, what bounds the rate, hours; for SCALING.md and by hand.

python -m benchmarks.scaling --images 1e9 --width 1536 --height 1024 --jpeg-bytes 400e3 --cores 64
python -m benchmarks.scaling --write     bring benchmarks/SCALING.md up to date; --check: exit 1 where it drifted
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.blocks import NOT_MEASURED, Block, markdown_table, run
from benchmarks.comparisons import BANDWIDTH, COPY, END_TO_END, PREPROCESS, cells, load, on_gpu
from benchmarks.formats import significant
from benchmarks.goals import CPU_PAIR_OUT, GPU_PAIR_OUT
from benchmarks.rows import RESULTS, Row
from fastnorm.cli._ending import quietly
from fastnorm.cli._text import table

START = "<!-- worked example: python -m benchmarks.scaling --write -->"
END = "<!-- end of worked example -->"
COMMAND = "benchmarks.scaling"
PHOTOS = Path(__file__).parent.parent / "fastnorm" / "photos"

_PUBLISHED = "before (Pillow backend)"  # the end-to-end row of the published code
CHANNELS = 3
FLOAT = 4  # bytes
SIDES = (512, 224)  # VAE and CLIP


@dataclass(frozen=True)
class Inputs:
    """What a reader puts in; the defaults are assumptions, and `source` says where each value is from."""

    images: float = 1e9
    width: float = 1536
    height: float = 1024
    jpeg_bytes: float = 0.0  # of one file
    decode_ms: float = 13.0  # of one core, per picture
    resize_ms: float = 25.0  # of one core, per picture: both branches as published, 12 + 13
    cores: float = 64
    disk: float = 2.0  # GB/s
    bus: float = 55.0  # GB/s, host to device
    memory: float = 4300.0  # GB/s of the device, read + written
    source: Mapping[str, str] = field(default_factory=dict)

    def where_from(self, name: str) -> str:
        return self.source.get(name, "assumption")


WHAT = {
    "images": ("N", "pictures in the run", ""),
    "width": ("W", "width of a picture", "pixels"),
    "height": ("H", "height of a picture", "pixels"),
    "jpeg_bytes": ("J", "one JPEG file", "bytes"),
    "decode_ms": ("d", "decoding one picture on one core", "ms"),
    "resize_ms": ("r", "resizing and normalising for both models on one core, as published", "ms"),
    "cores": ("C", "cores that feed one device", ""),
    "disk": ("B_disk", "disk or network, read", "GB/s"),
    "bus": ("B_bus", "host to device", "GB/s"),
    "memory": ("B_mem", "device memory, read and written", "GB/s"),
}


@dataclass(frozen=True)
class Way:
    """How the work is split; what crosses from the workers to the device, and what the device then moves."""

    name: str
    crossing: Callable[[Inputs], float]  # bytes of one sample
    crossing_text: str
    device: Callable[[Inputs], float]  # bytes of one sample
    device_text: str
    core_ms: Callable[[Inputs], float]  # of one core, per sample
    core_text: str


def outputs() -> int:
    """Elements of one sample: both models' inputs."""
    return sum(CHANNELS * side * side for side in SIDES)


def eager_bytes(targets: int) -> int:
    """Per element: read 1 and write 4, divide 4 + 4, then per target subtract and divide, 4 + 4 each."""
    return 1 + 4 + 8 + 16 * targets


def fused_bytes(targets: int) -> int:
    """Per element: read 1 once, write one float32 per target."""
    return 1 + FLOAT * targets


def picture(given: Inputs) -> float:
    return CHANNELS * given.width * given.height


WAYS = (
    Way(
        "today: float32 from the workers",
        lambda _: FLOAT * outputs(), "4 E",
        lambda _: 0.0, "0 (done on the host)",
        lambda given: given.decode_ms + given.resize_ms, "C / (d + r)",
    ),
    Way(
        "uint8 crops, normalised on the device",
        lambda _: outputs(), "E",
        lambda _: fused_bytes(1) * outputs(), "5 E",
        lambda given: given.decode_ms + given.resize_ms, "C / (d + r)",
    ),
    Way(
        "uint8 pictures, resized on the device",
        picture, "3 W H",
        lambda given: picture(given) + FLOAT * outputs(), "3 W H + 4 E, at least",
        lambda given: given.decode_ms, "C / d",
    ),
)  # fmt: skip


def rates(way: Way, given: Inputs) -> dict[str, float]:
    """Pictures per second that each boundary allows, were it alone."""
    bound = {
        "disk": 1e9 * given.disk / given.jpeg_bytes,
        "cores": 1e3 * given.cores / way.core_ms(given),
        "bus": 1e9 * given.bus / way.crossing(given),
    }
    if way.device(given):
        bound["device memory"] = 1e9 * given.memory / way.device(given)
    return bound


def narrowest(way: Way, given: Inputs) -> str:
    bound = rates(way, given)
    return min(bound, key=lambda name: bound[name])


def order(way: Way, given: Inputs) -> str:
    """The boundaries from the narrowest to the widest."""
    return ", ".join(
        f"{name} {rate:,.0f}" for name, rate in sorted(rates(way, given).items(), key=lambda pair: pair[1])
    )


def from_rows(rows: Sequence[Row], own: Mapping[str, Any] | None = None) -> Inputs:
    """A reader's own values, else what the rows hold, else the assumptions."""
    own = own or {}
    given = replace(Inputs(), **own)
    source = dict.fromkeys(("images", "width", "height"), "chosen")
    source |= dict.fromkeys(("decode_ms", "resize_ms"), "assumption; one measurement that has no row")
    per_pixel, files = jpeg_bytes_per_pixel()
    measured: dict[str, Any] = {"jpeg_bytes": per_pixel * given.width * given.height}
    source["jpeg_bytes"] = f"{per_pixel:.3f} bytes a pixel, as the {files} photographs in fastnorm/photos"
    for cell in cells(rows):
        if cell.suite == END_TO_END and " 1 workers" in cell.name:
            took = {e.name: 1e3 / e.images_per_s.median for e in cell.entries if e.images_per_s is not None}
            decode = next((took[e.name] for e in cell.entries if e.only_decodes and e.name in took), None)
            if decode is not None:
                measured["decode_ms"] = decode
                source["decode_ms"] = f"row: decoding alone, {cell.name}, {cell.device}"
            if decode is not None and took.get(_PUBLISHED, 0.0) > decode:
                measured["resize_ms"] = took[_PUBLISHED] - decode
                source["resize_ms"] = f"rows: {_PUBLISHED} less decoding alone, {cell.name}, {cell.device}"
            break
    for row in rows:
        if (row.suite, row.cell) == (BANDWIDTH, COPY) and on_gpu(row) and row.gb_per_s:
            measured["memory"] = row.gb_per_s
            source["memory"] = f"row: {row.name}, {row.device}"
    source |= dict.fromkeys(own, "yours")
    return replace(given, **{**measured, **own}, source=source)


def jpeg_bytes_per_pixel() -> tuple[float, int]:
    """Of the photographs that the library ships."""
    total = pixels = 0
    files = sorted(PHOTOS.glob("*.jpg"))
    for path in files:
        with Image.open(path) as image:
            pixels += image.width * image.height
        total += path.stat().st_size
    return total / pixels, len(files)


def inputs_table(given: Inputs) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [("symbol", "what", "value", "where from")]
    for name, (symbol, what, unit) in WHAT.items():
        value = getattr(given, name)
        shown = _count(value)
        lines.append((symbol, what, f"{shown} {unit}".strip(), given.where_from(name)))
    return lines


def bytes_table(given: Inputs) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [
        ("boundary", "way", "bytes of a sample", "that is", f"{_count(given.images)} pictures")
    ]

    def add(boundary: str, way: str, formula: str, count: float) -> None:
        lines.append((boundary, way, formula, _bytes(count), _bytes(count * given.images)))

    add("disk to worker", "every way", "J", given.jpeg_bytes)
    for boundary in ("worker to main process", "host to device"):
        for way in WAYS:
            add(boundary, way.name, way.crossing_text, way.crossing(given))
    for way in WAYS:
        add("device memory", way.name, way.device_text, way.device(given))
    pair = CHANNELS * SIDES[0] ** 2
    for name, each in (("eager torch, two targets of 512", eager_bytes(2)), ("one pass, the same", fused_bytes(2))):
        add("device memory, normalising", name, f"{each} x 3 x 512 x 512", each * pair)
    return lines


def rates_table(given: Inputs) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [("pictures per second", *(way.name for way in WAYS))]
    bounds = [rates(way, given) for way in WAYS]
    formulas = {
        "disk": "B_disk / J",
        "cores": "C / core time",
        "bus": "B_bus / crossing",
        "device memory": "B_mem / moved",
    }
    for name, formula in formulas.items():
        shown = [f"{bound[name]:,.0f}" if name in bound else "-" for bound in bounds]
        lines.append((f"{name}: {formula}", *shown))
    lines.append(("narrowest", *(narrowest(way, given) for way in WAYS)))
    hours = [given.images / min(bound.values()) / 3600 for bound in bounds]
    lines.append((f"hours for {_count(given.images)}", *(significant(value) for value in hours)))
    return lines


def measured_table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Hours per million pictures: all of the end-to-end rows, and ours of what is only a part of it."""
    lines: list[tuple[str, ...]] = [("measured", "hours per million pictures", "on")]
    for cell in cells(rows):
        part = cell.suite == PREPROCESS or any(where.fits(cell) for where in (CPU_PAIR_OUT, GPU_PAIR_OUT))
        for entry in cell.entries if cell.suite == END_TO_END else [cell.ours] if part else []:
            if entry is not None and entry.images_per_s is not None:
                speed, row = entry.images_per_s.median, entry.first
                device = (
                    row.device
                    if cell.on_gpu
                    else f"{row.device}, {row.threads} {'thread' if row.threads == 1 else 'threads'}"
                )
                hours = f"1e6 / {significant(speed)} / 3600 = {significant(1e6 / speed / 3600)}"
                lines.append((f"{cell.suite}: {entry.name}, {cell.name}", hours, device))
    for device, gpu in (("CPU", False), ("GPU", True)):
        if not any(row.suite == END_TO_END and row.ran and on_gpu(row) == gpu for row in rows):
            lines.append((f"{END_TO_END}, JPEG files to both tensors", NOT_MEASURED, device))
    return lines


def _count(value: float) -> str:
    return f"{value:g}".replace("e+0", "e") if value >= 1e7 else f"{value:,.0f}" if value >= 1e3 else f"{value:.4g}"


def _bytes(count: float) -> str:
    for unit, size in (("EB", 1e18), ("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{significant(count / size)} {unit}"
    return f"{count:.0f} B"


def render(folder: Path = RESULTS) -> str:
    """The worked example of SCALING.md."""
    rows = load(folder)
    given = from_rows(rows)
    parts = [
        "What is put in:", markdown_table(inputs_table(given)),
        f"E = 3 x 512 x 512 + 3 x 224 x 224 = {outputs():,} elements a sample. What moves:",
        markdown_table(bytes_table(given)),
        "What each boundary would allow, and the smallest of them:", markdown_table(rates_table(given)),
"Which is next, from the narrowest on:", "\n".join(f"- {way.name}: {order(way, given)}" for way in WAYS),
        "What a million pictures cost, measured:", markdown_table(measured_table(rows)),
    ]  # fmt: skip
    return "\n\n".join(parts)


def block() -> Block:
    return Block(Path(__file__).parent / "SCALING.md", START, END, render)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the worked example into SCALING.md")
    parser.add_argument("--check", action="store_true", help="exit 1 where SCALING.md and the rows differ")
    for name, (symbol, what, unit) in WHAT.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=_positive, metavar=symbol, help=f"{what}{f', {unit}' if unit else ''}")
    options = parser.parse_args(argv)
    if options.write or options.check:
        return run(block(), COMMAND, options.write)

    own = {f.name: getattr(options, f.name) for f in fields(Inputs) if getattr(options, f.name, None) is not None}
    given = from_rows(load(), own)
    for lines in (inputs_table(given), bytes_table(given), rates_table(given)):
        print(table(lines, "l" * len(lines[0])), end="\n\n")
    return 0


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}, wanted a number above 0, such as 1e9")
    return value


if __name__ == "__main__":
    sys.exit(quietly("benchmarks.scaling", main))
