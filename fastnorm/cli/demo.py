"""`fastnorm demo`: image files through a DataLoader into both models' tensors, compared, timed and drawn."""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import fastnorm
from fastnorm.backends.select import path_name
from fastnorm.cli import contact_sheet, sheet_file
from fastnorm.cli._devices import open_device, print_advice
from fastnorm.cli._ending import importing
from fastnorm.cli._errors import CommandError
from fastnorm.cli._left_out import report_left_out
from fastnorm.cli._progress import progress
from fastnorm.cli._text import paragraph, plural, print_table, significant
from fastnorm.data.dataset import ImageFiles, collate
from fastnorm.data.files import Found, find_images, shipped_photographs
from fastnorm.data.tally import Tally, as_pil
from fastnorm.runtime import timing
from fastnorm.spec.normalization import CHANNELS
from fastnorm.spec.target import Target
from fastnorm.verification.pillow_chain import short_side_and_crop
from fastnorm.verification.published import Published

MAX_ROWS = 8  # of the contact sheet
_NAMES_PER_NOTE = 3


def run(args: argparse.Namespace) -> int:
    sheet_file.check(args.output)
    device = open_device(args.device)
    dtype = getattr(torch, args.dtype)
    found = find_images(args.images) if args.images else Found(shipped_photographs(), [])
    found = Found(sheet_file.apart_from(args.output, found.files, args.images), found.errors)
    if not found.files:
        report_left_out(found.errors, 0, args.verbose)
        raise CommandError(
            "got nothing to read, expected image files or folders of them; for the shipped ones: fastnorm demo"
        )

    vae, clip = _resized_to(fastnorm.VAE_512, args.size, dtype), _resized_to(fastnorm.CLIP_224, args.clip_size, dtype)
    with importing():  # torchvision and transformers
        published = Published(vae, clip)
    tally = Tally(published, device)
    dataset = ImageFiles(found.files, args.alpha, args.exif, {"vae": vae, "clip": clip})
    rows = _read_everything(dataset, args, device, tally)

    print(f"fastnorm {fastnorm.__version__} on {path_name(device)}")
    print_advice(device)
    print()
    _report_notes([(path, _as_option(note)) for path, note in tally.notes], args.verbose)
    report_left_out([_as_option(error) for error in found.errors + tally.errors], tally.images, args.verbose)
    if tally.batch is None:
        return 1
    _print_result(args, tally, tally.batch, len(found.errors) + len(tally.errors))
    _print_throughput(tally.batch, tally.published, device, args.rounds)
    _write_sheet(args.output, tally, rows)
    return 1 if tally.differing else 0


def _resized_to(preset: Target, side: int, dtype: torch.dtype) -> Target:
    """The preset for squares of another size."""
    return dataclasses.replace(preset, size=side, dtype=dtype)


def _read_everything(
    dataset: ImageFiles, args: argparse.Namespace, device: torch.device, tally: Tally
) -> list[contact_sheet.Row]:
    """Tally every batch; the contact sheet's rows."""
    loader = DataLoader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=collate,
        pin_memory=device.type == "cuda",
    )
    rows: list[contact_sheet.Row] = []
    with progress(len(dataset), "reading and preprocessing") as bar:
        for batch in loader:
            tensors = tally.add(batch)
            if batch.images is not None:
                for index, path in enumerate(batch.paths[: MAX_ROWS - len(rows)]):
                    own = [tensor[index] for tensor in tensors]
                    rows.append(contact_sheet.Row.of(Path(path).name, batch.images[index], own))
            bar.advance(batch.attempted)
            bar.name(Path(batch.paths[-1]).name if batch.paths else "")
    return rows


def _as_option(advice: str) -> str:
    """Advice to the library's callers in the command line's spelling: alpha='drop' is --alpha drop."""
    return re.sub(r"\b(alpha|exif)='(\w+)'", r"--\1 \2", advice)


def _report_notes(notes: Sequence[tuple[str, str]], every: bool) -> None:
    paths_by_note = defaultdict(list)
    for path, note in notes:
        paths_by_note[note].append(path)
    for note, paths in paths_by_note.items():
        left = len(paths) - _NAMES_PER_NOTE
        if left <= 0 or every:
            print(f"note: {', '.join(paths)}: {note}", file=sys.stderr)
        else:
            some = ", ".join(paths[:_NAMES_PER_NOTE])
            print(f"note: {len(paths)} images ({some} and {left} more): {note}", file=sys.stderr)


def _print_result(args: argparse.Namespace, tally: Tally, batch: fastnorm.PackedImages, left_out: int) -> None:
    whose = plural(tally.images, "image") if args.images else f"the {tally.images} photographs shipped with fastnorm"
    missing = f" ({left_out} left out, listed above)" if left_out else ""
    rows = [
        ("images", f"{whose}{missing}"),
        ("sizes", f"{_sizes(tally)} pixels, height x width"),
        ("batches", f"{tally.batches} from a DataLoader ({plural(args.workers, 'worker')}), the largest below"),
    ]
    print_table(rows, "ll", head=False)

    outputs = [("tensor", "shape", "dtype", "lowest", "highest")]
    for target, (low, high) in zip(tally.published.targets, tally.ranges, strict=True):
        shape = str((len(batch), CHANNELS, *short_side_and_crop(target)[1]))
        outputs.append((target.normalization.name, shape, args.dtype, f"{low:.4f}", f"{high:.4f}"))
    print_table(outputs, "lllrr")

    published = tally.published
    why = f" ({published.missing})" if published.missing else ""
    how = "Resized, cropped and normalised in one fused_dual_preprocess call per batch; compared bit for bit"
    rounding = "" if args.dtype == "float32" else f", theirs rounded once from float32 to {args.dtype}"
    print(paragraph(f"{_verdict(tally)}{why}. {how}{rounding}."), end="\n\n")


def _print_throughput(batch: fastnorm.PackedImages, published: Published, device: torch.device, rounds: int) -> None:
    images, threads = as_pil(batch), torch.get_num_threads()
    vae, clip = published.targets
    # What a caller has: images that a decoder left on the CPU, or a batch on the GPU.
    own_input = images if device.type == "cpu" else batch.to(device)
    calls = {
        "fastnorm": lambda: fastnorm.fused_dual_preprocess(own_input, vae=vae, clip=clip),
        "published chain, one image after the other": lambda: published.serial(images),
        f"published chain, {threads} threads": lambda: published.threaded(images),
    }
    if threads == 1:
        calls.popitem()
    with progress(rounds + 1, "timing") as bar:
        seconds = timing.interleaved(list(calls.values()), device, rounds, bar.advance)
    best = min(seconds[1:])
    rows = [("both targets", "samples/s", "ms per sample", "speed")]
    for what, time in zip(calls, seconds, strict=True):
        each = time / len(batch)
        rows.append((what, significant(1 / each), significant(each * 1e3), f"{best / time:.1f} x"))
    print_table(rows, "lrrr")

    here = "the same PIL images" if device.type == "cpu" else f"the same images, packed in one buffer on {device}"
    there = "" if device.type == "cpu" else f", on the CPU; nothing is copied to {device} in either time"
    cast = "" if vae.dtype is torch.float32 else f" and .to({vae.dtype})"
    print(
        paragraph(
            f"Timed: {plural(len(batch), 'decoded image')} to both tensors, newly allocated, without the decoding. "
            f"Published chain, per PIL image: {published.steps}; then torch.stack{cast}{there}. fastnorm: one "
            f"fused_dual_preprocess call on {here}. On the CPU both may use {plural(threads, 'thread')}; speed is "
            f"against the faster published chain. Median of {plural(rounds, 'interleaved round')}."
        ),
        end="\n\n",
    )


def _write_sheet(path: Path, tally: Tally, rows: Sequence[contact_sheet.Row]) -> None:
    shown = len(rows)
    some = f"the first {shown} of {tally.images} images" if shown < tally.images else plural(shown, "image")
    sheet = contact_sheet.draw(
        rows,
        tally.published.targets,
        title="Images of any size, two models' tensors",
        subtitle=f"fastnorm {fastnorm.__version__}, {path_name(tally.device)}: {some}, one call per batch",
        verdict=contact_sheet.Verdict(tally.differing, tally.values, tally.published.name),
    )
    sheet_file.write(path, sheet)
    print(f"contact sheet: {path} ({sheet.width} x {sheet.height} pixels, {some})")


def _verdict(tally: Tally) -> str:
    return str(contact_sheet.Verdict(tally.differing, tally.values, tally.published.name))


def _sizes(tally: Tally) -> str:
    ends = dict.fromkeys(size for size in (tally.smallest, tally.largest) if size is not None)
    return " to ".join(f"{size.height} x {size.width}" for size in ends)
