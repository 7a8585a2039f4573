"""Every argument of every command, so that `--help` needs none of the commands' own imports, nor torch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import fastnorm
from fastnorm.spec.normalization import PRESETS
from fastnorm.spec.options import ORDERS

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

MAX_SIZE = 4096

# The library's own, which are in modules that import torch; a test compares them.
_ALPHA_CHOICES = ("error", "drop", "white")
_EXIF_CHOICES = ("ignore", "apply", "error")
_BACKENDS = ("pil", "torchvision")
_TARGETS = (
    "VAE_512", "VAE_1024", "VAE_512_LANCZOS", "VAE_1024_LANCZOS", "VAE_1024_IP_ADAPTER", "VAE_256_ADM",
    "VAE_IMAGE_PROCESSOR", "CLIP_224", "CLIP_336", "CLIP_224_TORCH", "SIGLIP_224", "SIGLIP_384", "SIGLIP_224_TORCH",
    "SIGLIP2_224", "SIGLIP2_224_TORCH", "IMAGENET_224", "DINOV2_224", "DINOV2_224_HF", "DINOV2_224_TORCH",
    "DINOV3_256", "DINOV3_SAT_256",
)  # fmt: skip
_DTYPES = ("float32", "float16", "bfloat16")

_EXAMPLES = """\
examples:
  fastnorm demo                          the shipped photographs, and a contact sheet of them
  fastnorm demo photos/ cat.jpg          your own files and folders
  fastnorm check                         compare every value on this machine with the published ones
  fastnorm check --config model/         the same for a model's preprocessor_config.json
  fastnorm explain clip --value 17       what CLIP's normalisation does to pixel value 17
  fastnorm explain clip --order fused    the same as transformers' torchvision backend computes it
  fastnorm verify model/ photos/         a model's own image processor beside this library, and why they differ
  fastnorm encode photos/ encoded/ --target vae=vae-512:sd/vae --target clip=clip-224:clip/
                                         encode every photograph once by two models, on all cores or GPUs
  fastnorm bench --quick                 measure this machine, compared with other packages; needs a checkout
"""


class _Parser(argparse.ArgumentParser):
    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """argparse would ignore a standard output that takes no more."""
        if file is not None and file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def build_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="fastnorm",
        description="uint8 images to the input tensors of several models in one call, bit for bit as published.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastnorm {fastnorm.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    _add_demo(commands)
    _add_check(commands)
    _add_explain(commands)
    _add_verify(commands)
    _add_encode(commands)
    _add_bench(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="preprocess images for two models, compare with the published chain, draw a contact sheet",
        description="Read images of any sizes through a DataLoader; resize, crop and normalise them for the VAE and "
        "for CLIP in one call; compare every value with the published chain, time both, and draw a contact sheet. "
        "Exit status 0: no value differs; 1: a value differs, or no image could be used; 2: a wrong call.",
    )
    demo.add_argument(
        "images", nargs="*", type=Path, metavar="IMAGE", help="image files, or folders to search (default: shipped)"
    )
    demo.add_argument(
        "--size", type=_up_to(MAX_SIZE), default=512, help="side of the VAE's images (default: 512; SDXL: 1024)"
    )
    demo.add_argument("--clip-size", type=_up_to(MAX_SIZE), default=224, help="side of CLIP's images (default: 224)")
    demo.add_argument("--batch-size", type=_at_least(1), default=16, help="images per batch (default: 16)")
    demo.add_argument("--workers", type=_at_least(0), default=0, help="DataLoader worker processes (default: 0)")
    demo.add_argument("--rounds", type=_at_least(1), default=7, help="timing rounds (default: 7)")
    demo.add_argument(
        "--alpha",
        choices=_ALPHA_CHOICES,
        default="error",
        help="images with transparent pixels: skip them, drop their alpha, or blend them with white (default: error)",
    )
    demo.add_argument(
        "--exif",
        choices=_EXIF_CHOICES,
        default="ignore",
        help="images with an EXIF orientation: take the pixels as they are stored, as published pipelines and this "
        "library do, turn them upright, or skip them (default: ignore)",
    )
    demo.add_argument("--dtype", choices=_DTYPES, default="float32", help="default: float32")
    _add_device(demo)
    demo.add_argument("--verbose", action="store_true", help="name every image that was skipped or has a note")
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("fastnorm-contact-sheet.png"),
        metavar="PNG",
        help="where the contact sheet goes (default: ./fastnorm-contact-sheet.png)",
    )


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="compare every value on this machine with the published ones, bit for bit",
        description="Compare every pixel value, channel, dtype and layout with exact rational arithmetic, and every "
        "resizing filter with Pillow, bit for bit. Exit status 0: all equal; 1: a difference; 2: a wrong call.",
    )
    _add_device(check)
    check.add_argument("--mean", type=float, nargs="+", metavar="M", help="check these constants instead of presets")
    check.add_argument("--std", type=float, nargs="+", metavar="S", help="goes with --mean; one number or three")
    check.add_argument("--config", metavar="FILE", help="check a preprocessor_config.json, or its folder")


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    explain = commands.add_parser(
        "explain",
        help="say what a preset or a model's configuration does to an image and its pixels",
        description="Geometry, constants, their source, the order of operations and the resulting values.",
    )
    explain.add_argument(
        "target",
        nargs="?",
        metavar="PRESET_OR_CONFIG",
        help=f"{', '.join(PRESETS)}, a target such as CLIP_224, or a preprocessor_config.json, its folder or the name "
        f"of a model in the local Hugging Face cache (default: list the presets)",
    )
    explain.add_argument(
        "--value", type=_pixel, nargs="+", default=[0, 128, 255], help="pixel values (default: 0 128 255)"
    )
    explain.add_argument(
        "--order",
        choices=ORDERS,
        help="of the operations: torchvision's ToTensor and Normalize (to_tensor, the presets'), its v2 (to_dtype), "
        "transformers' torchvision backend (fused), x / 127.5 - 1 (scale_shift)",
    )
    explain.add_argument(
        "--backend",
        choices=_BACKENDS,
        help="read a transformers configuration as this backend computes it (default: the one transformers takes)",
    )


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = commands.add_parser(
        "verify",
        help="run a model's own image processor and this library on images, say whether and why they differ",
        description="Build a configuration's image processor with transformers, from local files alone; run it and "
        "this library on images; count the values that differ, and name what the processor does otherwise. Exit status "
        "0: identical; 1: something differs; 2: a wrong call.",
    )
    verify.add_argument(
        "config", metavar="CONFIG", help="a preprocessor_config.json, its folder, or a model's name in the Hub's cache"
    )
    verify.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders to search")
    verify.add_argument(
        "--backend", choices=_BACKENDS, help="of the image processor (default: what transformers takes)"
    )
    verify.add_argument(
        "--target",
        type=str.upper,
        choices=_TARGETS,
        metavar="PRESET",
        help="compare with a preset, such as CLIP_224 (default: with what the configuration says)",
    )
    verify.add_argument(
        "--export",
        type=Path,
        metavar="NPZ",
        help="where nothing differs, write golden vectors for ports to other languages: pixels, outputs, and how they "
        "are computed",
    )


def _add_encode(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encode = commands.add_parser(
        "encode",
        help="encode a data set once by several models, into Parquet; goes on where it was stopped",
        description="Encode every image of a source once by several models, on Ray Data, into a folder of Parquet "
        "shards. A row is known by the hash of the file's bytes and of all settings: the same command again encodes "
        "what is missing. Exit status 0: every image is encoded or, with its reason, in quarantine.jsonl; 1: the run "
        "has ended early, no image could be encoded, or --verify found something; 2: a wrong call.",
    )
    encode.add_argument(
        "source",
        nargs="?",
        type=Path,
        metavar="SOURCE",
        help="a folder of images, tars of WebDataset, Parquet files with the images' bytes, or a folder of datasets' "
        "save_to_disk; not with --status and --verify",
    )
    encode.add_argument("output", type=Path, metavar="OUTPUT", help="a new folder, or that of an earlier run")
    encode.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAME=PRESET:MODEL",
        help="a column, a preset such as clip-224, and the folder of a transformers vision model (MODEL#OUTPUT names "
        "another of its outputs) or of a diffusers VAE, or MODULE:FUNCTION; once for each model",
    )
    encode.add_argument("--add", action="store_true", help="go on in a folder with rows of other settings")
    encode.add_argument("--status", action="store_true", help="count what OUTPUT holds and what is missing; no work")
    encode.add_argument("--verify", action="store_true", help="count and hash every shard of OUTPUT again; no work")
    encode.add_argument("--alpha", choices=_ALPHA_CHOICES, default="error", help="transparent pixels (default: error)")
    encode.add_argument("--exif", choices=_EXIF_CHOICES, default="ignore", help="orientations (default: ignore)")
    encode.add_argument("--dtype", choices=_DTYPES, default="float32", help="of the models (default: float32)")
    _add_device(encode)
    encode.add_argument(
        "--batch-size", type=_at_least(1), default=16, help="images a model gets at once, always as many (default: 16)"
    )
    encode.add_argument(
        "--batch-pixels",
        type=_at_least(1),
        default=1 << 28,
        help="pixels of decoded images that a worker holds at once (default: 268435456, 0.8 GB)",
    )
    encode.add_argument("--shard-rows", type=_at_least(1), default=1024, help="rows of a shard (default: 1024)")
    encode.add_argument(
        "--workers", type=_at_least(1), help="processes that encode (default: one for each GPU, or CPU but one)"
    )
    encode.add_argument("--cpus", type=_at_least(2), help="CPUs to use (default: all)")
    encode.add_argument("--address", help="of a Ray cluster (default: this machine, where nothing has to be started)")
    encode.add_argument("--column", help="which column of tables holds the images (default: image, jpg, ..., bytes)")
    encode.add_argument("--rehash", action="store_true", help="read unchanged files again too")
    encode.add_argument("--json", action="store_true", help="print a line of JSON for each shard, as in the manifest")


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="run the benchmark suite, write its rows and an HTML report with charts",
        description="Run the benchmark suite of a checkout on this machine: this library and other packages in turns, "
        "verified before they are timed; then write one self-contained HTML page. Exit status 0: everything ran and "
        "was verified; 1: something was not; 2: a wrong call.",
    )
    bench.add_argument("--quick", action="store_true", help="few cells and few rounds: minutes, not hours")
    bench.add_argument(
        "--output",
        type=Path,
        default=Path("fastnorm-bench"),
        metavar="FOLDER",
        help="where rows and report go; rows are added to those of earlier runs (default: ./fastnorm-bench)",
    )
    bench.add_argument("--rows-only", action="store_true", help="write no report")


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", help="such as cpu or cuda:1 (default: cuda where there is one, else cpu)")


class _Whole:
    """An argparse type: a whole number from `low` to `high`."""

    def __init__(self, low: int, high: int | None) -> None:
        self.low, self.high = low, high

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < self.low or (self.high is not None and value > self.high):
            expected = f"at least {self.low}" if self.high is None else f"from {self.low} to {self.high}"
            raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number {expected}")
        return value


def _at_least(low: int) -> _Whole:
    return _Whole(low, None)


def _up_to(high: int) -> _Whole:
    return _Whole(1, high)


_pixel = _Whole(0, 255)
