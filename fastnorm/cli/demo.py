"""`fastnorm demo`: real images through a DataLoader into both tensors, compared, timed and drawn."""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import fastnorm
from fastnorm._backends import path_name
from fastnorm.cli import contact_sheet, timing
from fastnorm.cli._devices import open_device
from fastnorm.cli._errors import CommandError
from fastnorm.cli._progress import progress
from fastnorm.cli._text import paragraph, plural, table
from fastnorm.cli.dataset import Batch, ImageFiles, collate
from fastnorm.cli.files import Found, find_images, shipped_photographs
from fastnorm.cli.oracle import bits
from fastnorm.cli.published import Published

TARGETS = (fastnorm.VAE, fastnorm.CLIP)
MOST_ROWS = 8
_NAMES_PER_NOTE = 3


def run(args: argparse.Namespace) -> int:
    check_output(args.output)
    device = open_device(args.device)
    dtype = getattr(torch, args.dtype)
    found = find_images(args.images) if args.images else Found(shipped_photographs(), [])
    if not found.files:
        _report_errors(found.errors, 0)
        raise CommandError("nothing to read; wanted image files or folders with some; without any: fastnorm demo")

    published = Published(TARGETS)
    tally = Tally(published, device, dtype)
    dataset = ImageFiles(found.files, args.size, args.alpha)
    _read_everything(dataset, args, device, tally)

    print(f"fastnorm {fastnorm.__version__} on {path_name(device)}\n")
    _report_notes(tally.notes)
    _report_errors(found.errors + tally.errors, tally.images)
    if tally.batch is None:
        return 1
    _print_result(args, tally, tally.batch, len(found.errors) + len(tally.errors))
    _print_throughput(tally.batch, published, dtype, args.rounds)
    _write_sheet(args.output, tally, published)
    return 1 if tally.differing else 0


def check_output(path: Path) -> None:
    """Fail now, not after the work, if the contact sheet cannot be written."""
    if path.suffix.lower() != ".png":
        raise CommandError(f"--output {path}: the contact sheet is a PNG; wanted a name such as {path.stem}.png")
    existed = path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise CommandError(
            f"--output {path}: cannot be written ({error.strerror}); wanted a file in a folder that exists and can be "
            f"written to"
        ) from None
    if not existed:
        path.unlink()


class Tally:
    """What is kept of the batches that went through: counts and ranges of all, a few rows, and one batch to time."""

    def __init__(self, published: Published, device: torch.device, dtype: torch.dtype) -> None:
        self.published = published
        self.device = device
        self.dtype = dtype
        self.images = self.batches = self.values = self.differing = 0
        self.ranges = [(math.inf, -math.inf) for _ in TARGETS]
        self.rows: list[contact_sheet.Row] = []
        self.batch: torch.Tensor | None = None  # the largest one, on the device
        self.notes: list[tuple[str, str]] = []
        self.errors: list[str] = []

    def add(self, batch: Batch) -> None:
        self.notes += batch.notes
        self.errors += batch.errors
        if batch.pixels is None:
            return
        pixels = batch.pixels.to(self.device, non_blocking=True)
        outputs = fastnorm.fused_dual_normalize(pixels, dtype=self.dtype, layout="NHWC")

        tensors = [output.cpu() for output in outputs]
        for index, (tensor, wanted) in enumerate(
            zip(tensors, self.published.values(batch.pixels, self.dtype), strict=True)
        ):
            self.values += wanted.numel()
            self.differing += int((bits(tensor) != bits(wanted)).sum())
            low, high = self.ranges[index]
            self.ranges[index] = min(low, float(tensor.min())), max(high, float(tensor.max()))
        for index, path in enumerate(batch.paths[: MOST_ROWS - len(self.rows)]):
            crops = [tensor[index].clone() for tensor in tensors]
            self.rows.append(contact_sheet.Row(Path(path).name, batch.pixels[index].clone(), crops))
        self.images += len(batch.paths)
        self.batches += 1
        if self.batch is None or len(pixels) > len(self.batch):
            self.batch = pixels


def _read_everything(dataset: ImageFiles, args: argparse.Namespace, device: torch.device, tally: Tally) -> None:
    loader = DataLoader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )
    with progress(len(dataset), "reading and normalising", "image") as advance:
        for batch in loader:
            tally.add(batch)
            advance(batch.attempted)


def _report_notes(notes: Sequence[tuple[str, str]]) -> None:
    paths_by_note = defaultdict(list)
    for path, note in notes:
        paths_by_note[note].append(path)
    for note, paths in paths_by_note.items():
        more = f" and {len(paths) - _NAMES_PER_NOTE} more" if len(paths) > _NAMES_PER_NOTE else ""
        print(f"note: {', '.join(paths[:_NAMES_PER_NOTE])}{more}: {note}", file=sys.stderr)


def _report_errors(errors: Sequence[str], usable: int) -> None:
    if errors:
        print(f"left out {len(errors)}, used {usable}:", file=sys.stderr)
        for error in errors:
            print(f"  {error}", file=sys.stderr)


def _print_result(args: argparse.Namespace, tally: Tally, batch: torch.Tensor, left_out: int) -> None:
    whose = plural(tally.images, "image") if args.images else f"the {tally.images} photographs shipped with fastnorm"
    missing = f" ({left_out} left out, listed above)" if left_out else ""
    workers = plural(args.workers, "worker")
    rows = [
        ("images", f"{whose}{missing}; short side resized to {args.size}, centre cropped"),
        (
            "batches",
            f"{tally.batches} from a DataLoader ({workers}), the largest uint8 {tuple(batch.shape)} NHWC",
        ),
    ]
    print(table(rows, "ll"), end="\n\n")

    shape = str((batch.shape[0], 3, *batch.shape[1:3]))
    outputs = [("tensor", "shape", "dtype", "lowest", "highest")]
    for target, (low, high) in zip(TARGETS, tally.ranges, strict=True):
        outputs.append((target.name, shape, args.dtype, f"{low:.4f}", f"{high:.4f}"))
    print(table(outputs, "lllrr"), end="\n\n")

    verdict = f"{tally.differing:,} of {tally.values:,} values differ from {tally.published.name}"
    how = "compared bit for bit, after ToTensor and Normalize per image and branch in float32"
    rounding = "" if tally.dtype is torch.float32 else f", rounded once to {args.dtype}"
    print(paragraph(f"{verdict}; {how}{rounding}."), end="\n\n")


def _print_throughput(batch: torch.Tensor, published: Published, dtype: torch.dtype, rounds: int) -> None:
    rival, description = published.timed(batch, dtype)
    seconds = timing.interleaved(
        [lambda: fastnorm.fused_dual_normalize(batch, dtype=dtype, layout="NHWC"), rival], batch.device, rounds
    )
    own, other = seconds
    rows = [("normalisation alone", "images/s", "ms per batch", "speed")]
    for what, time, note in (("fastnorm", own, f"{other / own:.1f} x"), ("published formula", other, "1.0 x")):
        rows.append((what, f"{len(batch) / time:,.0f}", f"{time * 1e3:.3f}", note))
    print(table(rows, "lrrr"), end="\n\n")
    print(
        paragraph(
            f"Timed: fastnorm: fused_dual_normalize on a uint8 batch {tuple(batch.shape)} that lies ready on "
            f"{batch.device}, both {str(dtype).removeprefix('torch.')} tensors newly allocated. Published formula, for "
            f"the same images: {description}. Median of {plural(rounds, 'interleaved round')}; reading, resizing and "
            f"cropping are in neither time."
        ),
        end="\n\n",
    )


def _write_sheet(path: Path, tally: Tally, published: Published) -> None:
    shown = len(tally.rows)
    some = f"the first {shown} of {tally.images} images" if shown < tally.images else plural(shown, "image")
    sheet = contact_sheet.draw(
        tally.rows,
        TARGETS,
        title="One uint8 batch, two models' tensors",
        subtitle=f"fastnorm {fastnorm.__version__}, {path_name(tally.device)}: {some}, one call per batch",
        footer=f"{tally.differing:,} of {tally.values:,} values differ from {published.name}",
    )
    try:
        sheet.save(path, format="PNG", optimize=True)
    except OSError as error:
        raise CommandError(f"--output {path}: cannot be written ({error.strerror or error})") from None
    print(f"contact sheet: {path} ({sheet.width} x {sheet.height} pixels, {some})")
