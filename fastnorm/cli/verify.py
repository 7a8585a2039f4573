"""`fastnorm verify`: `fastnorm.verify` of a configuration's own image processor, as a table."""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path

import fastnorm
from fastnorm.cli._ending import importing
from fastnorm.cli._errors import CommandError
from fastnorm.cli._left_out import report_left_out
from fastnorm.cli._progress import progress
from fastnorm.cli._targets import how_to_download, is_model_id
from fastnorm.cli._text import paragraph, print_table
from fastnorm.data.decode import ImageError, read_rgb
from fastnorm.data.files import find_images
from fastnorm.spec.describe import geometry_in_words
from fastnorm.spec.presets import TARGET_PRESETS
from fastnorm.spec.target import Target
from fastnorm.verification.golden import save_golden
from fastnorm.verification.loading import load_processor
from fastnorm.verification.verifying import Verification, verify


def run(args: argparse.Namespace) -> int:
    if args.export is not None:
        _check_export(args.export)
    processor = _processor(args.config, args.backend)
    target = _target(processor, args.target)
    files = _usable(args.images, target)
    with progress(len(files), "verifying") as bar:
        try:
            found = verify(processor, files, target, progress=bar.show)
        except (TypeError, ValueError) as error:
            raise CommandError(str(error)) from None
    _print(args, found)
    if args.export is not None:
        _export(args.export, found, files)
    return 0 if found.identical else 1


def _processor(config: str, backend: str | None) -> object:
    try:
        with importing():
            from transformers import AutoImageProcessor  # noqa: F401  # which takes seconds
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
        raise CommandError(
            f"transformers cannot be imported ({error}), expected it: pip install transformers"
        ) from None
    try:
        return load_processor(config, backend)  # type: ignore[arg-type]
    except OSError as error:
        if not Path(config).exists():
            hint = (
                how_to_download(config) if is_model_id(config) else "expected a preprocessor_config.json or its folder"
            )
            raise CommandError(f"{config}: no such file; {hint}") from None
        raise CommandError(f"{config}: {_first_line(error)}") from None
    except (TypeError, ValueError, KeyError, ImportError) as error:
        raise CommandError(
            f"{config}: transformers makes no image processor of it ({_first_line(error)}); for another library's "
            f"transform, in Python: fastnorm.verify(transform, images)"
        ) from None


def _target(processor: object, preset: str | None) -> Target:
    if preset is not None:
        return TARGET_PRESETS[preset]
    try:
        return Target.from_config(processor)
    except (TypeError, ValueError) as error:
        raise CommandError(f"{error}; to compare it with a preset: --target CLIP_224") from None


def _usable(arguments: list[Path], target: Target) -> list[Path]:
    """The files that the target can read; others are named on stderr."""
    found = find_images(arguments)
    wrong = {path: _what_is_wrong(path, target) for path in found.files}
    files = [path for path, error in wrong.items() if error is None]
    errors = [error for error in wrong.values() if error is not None]
    report_left_out(found.errors + errors, len(files), every=True)
    if not files:
        raise CommandError("got no image that can be used, expected image files or folders of them")
    return files


def _what_is_wrong(path: Path, target: Target) -> str | None:
    try:
        read_rgb(path, target.alpha or "error", target.exif or "ignore")
    except ImageError as error:
        return str(error)
    return None


def _print(args: argparse.Namespace, found: Verification) -> None:
    print(
        f"fastnorm {fastnorm.__version__} beside {found.processor} of transformers {metadata.version('transformers')}\n"
    )
    whose = f"the preset {args.target}" if args.target else f"read from {args.config}"
    print(paragraph(f"{whose}:", "target, "))
    for number, line in enumerate(geometry_in_words(found.target), 1):
        print(paragraph(line, f"  {number}. "))
    normalization = found.target.normalization
    last = f"normalise: mean {normalization.mean}, std {normalization.std}, order {normalization.order}"
    print(paragraph(last, f"  {len(geometry_in_words(found.target)) + 1}. "), end="\n\n")
    rows: list[tuple[str, ...]] = [
        ("image", "output", "values", "differ", "largest", "mean", "largest, in pixel values")
    ]
    for one in found.images:
        apart = one.difference
        output = f"{str(one.dtype).removeprefix('torch.')} {one.shape}"
        counts = f"{apart.values:,}", f"{apart.differing:,}"
        by = (f"{value:.3g}" for value in (apart.largest, apart.mean, apart.largest_pixels))
        rows.append((Path(one.name).name, output, *counts, *by))
    print_table(rows, "llrrrrr")
    print("\n".join(str(found).splitlines()[1:]))


def _check_export(path: Path) -> None:
    """Fail now, not after the work."""
    if path.suffix != ".npz":
        raise CommandError(f"--export {path}: got a name that ends in {path.suffix!r}, expected one in '.npz'")
    if not path.parent.is_dir():
        raise CommandError(f"--export {path}: got no folder {path.parent}, expected one that exists; make it first")


def _export(path: Path, found: Verification, files: list[Path]) -> None:
    if not found.identical:
        print(f"golden vectors: not written, because they are the processor's own outputs, which {path} would not be")
        return
    try:
        save_golden(path, found, files)
    except ValueError as error:
        raise CommandError(f"--export: {error}") from None
    except OSError as error:
        raise CommandError(f"--export {path}: cannot be written ({error.strerror}); name another file") from None
    print(f"golden vectors: {path}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
