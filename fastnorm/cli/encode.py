"""`fastnorm encode`: a data set encoded once by several models, on Ray Data."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fastnorm.cli._ending import complain, importing
from fastnorm.cli._errors import CommandError
from fastnorm.cli._progress import Bar, progress
from fastnorm.cli._text import plural, print_table, significant
from fastnorm.spec.presets import TARGET_PRESETS
from fastnorm.spec.target import Target

if TYPE_CHECKING:
    from fastnorm.integrations.ray.job import Summary
    from fastnorm.integrations.ray.shards import Shard


def run(args: argparse.Namespace) -> int:
    _check_ray()
    try:
        if args.status or args.verify:
            return _look(args)
        return _encode(args)
    except (TypeError, ValueError, FileNotFoundError, PermissionError) as error:
        raise CommandError(str(error)) from None


def _check_ray() -> None:
    try:
        with importing():
            for name in ("jinja2", "pyarrow", "ray.data"):
                importlib.import_module(name)
    except ImportError as error:
        raise CommandError(
            f'got no package {error.name}, expected the extra ray: pip install "fastnorm-triton[ray]"'
        ) from None


def _encode(args: argparse.Namespace) -> int:
    from fastnorm.integrations.ray.job import EncodeError, encode

    if args.source is None:
        raise CommandError("got one folder, expected two: fastnorm encode SOURCE OUTPUT --target ...")
    if not args.target:
        raise CommandError("got no --target, expected at least one: --target clip=clip-224:FOLDER")
    sys.path.insert(0, str(Path.cwd()))  # for MODULE:FUNCTION, as for python -m
    targets = named_targets(args.target)
    try:
        with progress(None, "encoding") as bar:
            summary = encode(
                args.source,
                args.output,
                targets,
                add=args.add,
                alpha=args.alpha,
                exif=args.exif,
                dtype=getattr(torch, args.dtype),
                device=args.device,
                batch_size=args.batch_size,
                batch_pixels=args.batch_pixels,
                shard_rows=args.shard_rows,
                workers=args.workers,
                cpus=args.cpus,
                address=args.address,
                column=args.column,
                rehash=args.rehash,
                on_shard=_print_shard if args.json else None,
                progress=_Shown(bar),
            )
    except EncodeError as error:
        complain(f"fastnorm encode: error: {error}")
        return 1
    if not args.json:
        _print(summary)
    return 0 if summary.bad < summary.items else 1


class _Shown:
    """The bar, with images per second and the number of bad ones."""

    def __init__(self, bar: Bar) -> None:
        self._bar, self._what, self._start = bar, "", 0.0

    def __call__(self, what: str, done: int, total: int, bad: int) -> None:
        if what != self._what:
            self._what, self._start = what, time.monotonic()
        took = time.monotonic() - self._start
        speed = f", {significant(done / took)} a second" if took > 1 else ""
        self._bar.show(done, total, f"{what}{speed}, {bad:,} bad")


def named_targets(texts: list[str]) -> dict[str, tuple[Target, str | Path]]:
    found: dict[str, tuple[Target, str | Path]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        preset, colon, model = rest.partition(":")
        if not (name and equals and preset and colon and model):
            raise CommandError(f"--target: got {text!r}, expected NAME=PRESET:MODEL, such as clip=clip-224:FOLDER")
        target = TARGET_PRESETS.get(preset.upper().replace("-", "_"))
        if target is None:
            names = ", ".join(one.lower().replace("_", "-") for one in TARGET_PRESETS)
            raise CommandError(f"--target: got the preset {preset!r}, expected one of {names}")
        if name in found:
            raise CommandError(f"--target: got the name {name!r} twice, expected a name for each")
        found[name] = target, model
    return found


def _print_shard(shard: Shard) -> None:
    print(json.dumps(shard._asdict()), flush=True)


def _print(summary: Summary) -> None:
    kept = f"{summary.before:,} of {plural(summary.unique, 'different image')} needed no work"
    print(f"{plural(summary.items, 'image')} in {summary.source}; {kept}")
    print(f"encoded {summary.encoded:,} in {plural(summary.shards, 'shard')}, {summary.seconds:,.1f} s")
    if summary.dependent:
        print(f"bits depend on a row's place in its batch: {', '.join(summary.dependent)}")
    if summary.bad:
        print(f"not encodable: {summary.bad:,}; their reasons: {Path(summary.output) / 'quarantine.jsonl'}")
    print(f"report: {Path(summary.output) / 'report.html'}")


def _look(args: argparse.Namespace) -> int:
    from fastnorm.integrations.ray.output import status, verify

    if args.source is not None:
        raise CommandError("got two folders with --status or --verify, expected OUTPUT alone")
    rows: list[tuple[str, ...]] = [("fingerprint", "images", "different", "rows", "shards", "MB", "bad", "missing")]
    for one in status(args.output):
        counts = one.items, one.unique, one.rows, one.shards, round(one.bytes / 1e6, 1), one.bad, one.missing
        rows.append((one.fingerprint[:16], *(f"{count:,}" for count in counts)))
    print_table(rows, "lrrrrrrr")
    if not args.verify:
        return 0
    problems = verify(args.output)
    print("\n".join(problems) if problems else "every shard is as the manifest says")
    return 1 if problems else 0
