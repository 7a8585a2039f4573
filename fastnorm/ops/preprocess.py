"""Images of any sizes to resized, cropped and normalised batches: the public functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, overload

import torch

from fastnorm.backends import select
from fastnorm.backends.base import TargetJob
from fastnorm.images.batch import Images, read_images
from fastnorm.images.packed import on_device
from fastnorm.ops.preprocess_arguments import (
    check_generator,
    resolve_device,
    resolve_flips,
    resolve_given,
    resolve_out,
    resolve_pass_order,
    resolve_target_dtypes,
)
from fastnorm.ops.preprocess_outputs import Output, allocate, check_apart
from fastnorm.runtime.torch_internals import graph_break
from fastnorm.spec.filters import filter_of
from fastnorm.spec.options import Alpha, Exif, Layout, check_alpha, check_bool, check_exif
from fastnorm.spec.plan import Flips, Plan, offsets, output_sizes, plan
from fastnorm.spec.presets import CLIP_224, VAE_512
from fastnorm.spec.target import DualOutput, Target, check_target, check_targets

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from typing_extensions import Unpack

    from fastnorm.images.packed import PackedImages

    AnyImages = (
        Sequence[Image.Image | torch.Tensor | np.ndarray] | Image.Image | torch.Tensor | np.ndarray | PackedImages
    )
    Flip = bool | Literal["random"] | Sequence[bool] | torch.Tensor | np.ndarray | None
    Positions = Sequence[torch.Tensor | np.ndarray | Sequence[Sequence[int]] | None]
    PerImage = Sequence[torch.Tensor | np.ndarray | Sequence[Sequence[float]] | None]

    class Options(TypedDict, total=False):
        out: Sequence[torch.Tensor | None] | None
        positions: Positions | None
        sizes: PerImage | None
        boxes: PerImage | None
        dtype: torch.dtype | Sequence[torch.dtype] | None
        device: torch.device | str | None
        layout: Layout
        alpha: Alpha
        exif: Exif
        flip: Flip
        vertical_flip: Flip
        flip_before_crop: bool
        generator: torch.Generator | None
        pillow_version: str | None


Offsets = tuple[torch.Tensor, ...]
Write = Callable[[Images, Sequence[TargetJob]], None]


@overload
def fused_dual_preprocess(
    images: AnyImages,
    *,
    vae: Target = ...,
    clip: Target = ...,
    return_offsets: Literal[False] = ...,
    **o: Unpack[Options],
) -> DualOutput: ...
@overload
def fused_dual_preprocess(
    images: AnyImages, *, vae: Target = ..., clip: Target = ..., return_offsets: Literal[True], **o: Unpack[Options]
) -> tuple[DualOutput, Offsets]: ...
@overload
def fused_dual_preprocess(
    images: AnyImages, *, vae: Target = ..., clip: Target = ..., return_offsets: bool, **o: Unpack[Options]
) -> DualOutput | tuple[DualOutput, Offsets]: ...
def fused_dual_preprocess(
    images: AnyImages,
    *,
    vae: Target = VAE_512,
    clip: Target = CLIP_224,
    out: Sequence[torch.Tensor | None] | None = None,
    positions: Positions | None = None,
    sizes: PerImage | None = None,
    boxes: PerImage | None = None,
    dtype: torch.dtype | Sequence[torch.dtype] | None = None,
    device: torch.device | str | None = None,
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    flip: Flip = None,
    vertical_flip: Flip = None,
    flip_before_crop: bool = False,
    generator: torch.Generator | None = None,
    pillow_version: str | None = None,
    return_offsets: bool = False,
) -> DualOutput | tuple[DualOutput, Offsets]:
    """Turn decoded images of any sizes into the VAE's batch and the CLIP encoder's batch, each at its own size.

    Example:
        >>> images = [torch.zeros(600, 800, 3, dtype=torch.uint8), torch.zeros(900, 640, 3, dtype=torch.uint8)]
        >>> vae, clip = fused_dual_preprocess(images, dtype=torch.bfloat16)
        >>> vae.shape, clip.shape
        (torch.Size([2, 3, 512, 512]), torch.Size([2, 3, 224, 224]))

    Args:
        images: As for `fused_preprocess`.
        vae: The first target; by default `VAE_512`: torchvision's Resize(512) (bilinear), CenterCrop(512) and
            Normalize([0.5], [0.5]) of a PIL image, as IP-Adapter trains with Stable Diffusion 1.5. diffusers' scripts
            resize with lanczos by now: `VAE_512_LANCZOS`, `VAE_1024_LANCZOS`; `VAE_1024_IP_ADAPTER` is IP-Adapter's
            for SDXL.
        clip: The second; by default `CLIP_224`: transformers' Pillow-backend CLIP image processor.
        out, positions, sizes, boxes, dtype, device, layout, alpha, exif: As for `fused_preprocess`, with two targets.
        flip, vertical_flip, flip_before_crop, generator, pillow_version, return_offsets: Likewise.

    Returns:
        A named tuple `(vae, clip)`; with `return_offsets`, that and the offsets.

    Raises:
        TypeError, ValueError: As for `fused_preprocess`.
    """
    check_target(vae, "vae")
    check_target(clip, "clip")
    outputs, places = run(
        images,
        (vae, clip),
        select.preprocess,
        out=out,
        positions=positions,
        sizes=sizes,
        boxes=boxes,
        dtype=dtype,
        device=device,
        layout=layout,
        alpha=alpha,
        exif=exif,
        flip=flip,
        vertical_flip=vertical_flip,
        flip_before_crop=flip_before_crop,
        generator=generator,
        pillow_version=pillow_version,
        return_offsets=return_offsets,
    )
    return (DualOutput(*outputs), places) if return_offsets else DualOutput(*outputs)


@overload
def fused_preprocess(
    images: AnyImages, targets: Sequence[Target], *, return_offsets: Literal[False] = ..., **o: Unpack[Options]
) -> tuple[torch.Tensor, ...]: ...
@overload
def fused_preprocess(
    images: AnyImages, targets: Sequence[Target], *, return_offsets: Literal[True], **o: Unpack[Options]
) -> tuple[tuple[torch.Tensor, ...], Offsets]: ...
@overload
def fused_preprocess(
    images: AnyImages, targets: Sequence[Target], *, return_offsets: bool, **o: Unpack[Options]
) -> tuple[torch.Tensor, ...] | tuple[tuple[torch.Tensor, ...], Offsets]: ...
def fused_preprocess(
    images: AnyImages,
    targets: Sequence[Target],
    *,
    out: Sequence[torch.Tensor | None] | None = None,
    positions: Positions | None = None,
    sizes: PerImage | None = None,
    boxes: PerImage | None = None,
    dtype: torch.dtype | Sequence[torch.dtype] | None = None,
    device: torch.device | str | None = None,
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    flip: Flip = None,
    vertical_flip: Flip = None,
    flip_before_crop: bool = False,
    generator: torch.Generator | None = None,
    pillow_version: str | None = None,
    return_offsets: bool = False,
) -> tuple[torch.Tensor, ...] | tuple[tuple[torch.Tensor, ...], Offsets]:
    """Resize, crop and normalise decoded images for any number of models, each at its own size, in one call.

    Example:
        >>> images = [torch.zeros(600, 800, 3, dtype=torch.uint8), torch.zeros(900, 640, 3, dtype=torch.uint8)]
        >>> random = Target(fastnorm.VAE, size=1024, crop=fastnorm.Crop(position="random"))
        >>> (vae, clip), offsets = fused_preprocess(images, [random, fastnorm.CLIP_224], return_offsets=True)
        >>> vae.shape, offsets[0].shape  # one (top, left) per image: SDXL's crop_coords_top_left
        (torch.Size([2, 3, 1024, 1024]), torch.Size([2, 2]))

    Every pixel is the one that Pillow's `Image.resize` gives, in integers, then `fused_normalize`'s rounding. Tensors
    on CUDA take Triton kernels, a constant number of launches for any images (steps `before` the last resize take eager
    torch there, one image after the other); on the CPU Pillow itself resizes.

    Args:
        images: A list of images of any sizes, each a PIL image or uint8 (H, W, 3) or (3, H, W); or one batch
            (N, H, W, 3) or (N, 3, H, W), with more leading axes for video; or `PackedImages`; or one image by itself.
            Tensors may have any strides and lie on any device, the same for all; R, G, B order.
        targets: What to make of them, at least one: presets such as `fastnorm.CLIP_224`, or `Target(...)`.
        out: Tensors to write into, one per target, of shape (N, 3, height, width) on the device where the work is done,
            or, for a target with `batch=False`, a list of one per image; None for a new one. Their dtypes decide unless
            a target or `dtype` names one.
        positions: Where each image is cropped, instead of where the target says: per target an integer tensor (N, 2) of
            (top, left) in pixels of the resized image, as `return_offsets` gives them; None leaves it to the target.
        sizes: What each image is resized to, instead of what the target says: per target an integer tensor (N, 2) of
            (height, width) in pixels; None leaves it to the target.
        boxes: Which part of each image is resized, after the target's steps before that: per target a tensor (N, 4) of
            (left, top, right, bottom) in pixels, which may be fractions, as `Image.resize(box=...)` takes them: filters
            see the pixels around it. An image may have None, and so may a target: all of it.
        dtype: float32 (the default), float16 or bfloat16, for all targets or one for each; a target's own comes first.
        device: Where to do the work. PIL images and CPU tensors are taken there in one packed copy. None: where they
            are.
        layout: "NHWC" / "HWC", "NCHW" / "CHW", or "auto", which looks for the axis of length 3.
        alpha: Transparent pixels of PIL images: "error", "drop" (as torchvision pipelines, with `convert("RGB")`) or
            "white" (put on white, as transformers does). A target's own `alpha` comes first: white for CLIP and drop
            for the VAE, say, in one call that decodes each image once.
        exif: An EXIF orientation of PIL images: "ignore" (as both published pipelines), "apply" or "error". A target's
            own `exif` comes first.
        flip: Which images to mirror left to right, in all targets: one bool, or one per image; or "random", each with
            probability 1/2; what else is mirrored along needs flips of your own, `torch.rand(n) < 0.5`. They are
            mirrored after the crop, as by `RandomHorizontalFlip` behind it.
        vertical_flip: Which images to mirror upside down, likewise: as by `RandomVerticalFlip` behind the other one.
        flip_before_crop: Mirror the resized image before it is cropped, as diffusers' SDXL script does; offsets then
            count in the mirrored image.
            With a `Crop` at "random", `flip="random"` draws what diffusers' `train_text_to_image.py` draws after the
            same `torch.manual_seed`: for each image in turn top, left, then one number for the mirror. With
            `flip_before_crop=True` too it draws what `train_text_to_image_sdxl.py` does: for each image
            `random.random()`, a number of torch's if it is mirrored, top, left; given flips leave out
            `random.random()` alone. Several targets that crop at random: the first one is drawn so, then the others,
            one after the other.
        generator: Where the random numbers of this call come from, a CPU generator, so that a sample's crop can be
            repeated after a resume: `torch.Generator().manual_seed(epoch * len(dataset) + index)`. None: torch's
            default generator, and Python's `random` where the scripts above use it.
        pillow_version: The Pillow version whose pixels to reproduce, such as "12" or "13": its order of the two passes
            shows in tall images. None: the installed one's.
        return_offsets: Return the crops' places too.

    Returns:
        One tensor of shape (N, 3, height, width) per target, without N for a single image; for a target with
        `batch=False` a list of N tensors (3, height, width). With `return_offsets`, a pair of those and of one int64
        CPU tensor (N, 2) per target: the crop's (top, left) in the resized image, negative where it begins with
        padding.

    Raises:
        TypeError: A wrong kind of image, target or option.
        ValueError: A wrong value: sizes, channels, transparent pixels, results of different sizes in one target, an
            `out` that does not fit. The message names the image; every check comes before any pixel is resized.
        RuntimeError: A call while a CUDA graph is captured, which would replay the addresses of these images.
    """
    outputs, places = run(
        images,
        check_targets(targets),
        select.preprocess,
        out=out,
        positions=positions,
        sizes=sizes,
        boxes=boxes,
        dtype=dtype,
        device=device,
        layout=layout,
        alpha=alpha,
        exif=exif,
        flip=flip,
        vertical_flip=vertical_flip,
        flip_before_crop=flip_before_crop,
        generator=generator,
        pillow_version=pillow_version,
        return_offsets=return_offsets,
    )
    return (outputs, places) if return_offsets else outputs


def run(
    images: object,
    targets: tuple[Target, ...],
    write: Write,
    *,
    return_offsets: bool = False,
    **options: Unpack[Options],
) -> tuple[tuple[torch.Tensor, ...], Offsets]:
    """Every preprocess call: plan, allocate, `write`; returns the outputs, and the crops' offsets if asked to."""
    if torch.compiler.is_compiling():
        return _run_untraced(images, targets, write, return_offsets, **options)
    return _run(images, targets, write, return_offsets, **options)


@graph_break
def _run_untraced(
    images: object, targets: tuple[Target, ...], write: Write, return_offsets: bool, **options: Unpack[Options]
) -> tuple[tuple[torch.Tensor, ...], Offsets]:
    """A graph break for torch.compile: what happens depends on sizes and on PIL, which no graph holds."""
    return _run(images, targets, write, return_offsets, **options)


def _run(
    images: object,
    targets: tuple[Target, ...],
    write: Write,
    return_offsets: bool,
    *,
    out: Sequence[torch.Tensor | None] | None = None,
    positions: Positions | None = None,
    sizes: PerImage | None = None,
    boxes: PerImage | None = None,
    dtype: torch.dtype | Sequence[torch.dtype] | None = None,
    device: torch.device | str | None = None,
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    flip: Flip = None,
    vertical_flip: Flip = None,
    flip_before_crop: bool = False,
    generator: torch.Generator | None = None,
    pillow_version: str | None = None,
) -> tuple[tuple[torch.Tensor, ...], Offsets]:
    check_bool("flip_before_crop", flip_before_crop)
    check_bool("return_offsets", return_offsets)
    check_alpha(alpha)
    check_exif(exif)
    check_generator(generator)
    order = resolve_pass_order(pillow_version)
    place = resolve_device(device)
    own = resolve_out(out, targets)
    dtypes = resolve_target_dtypes(dtype, targets, own)
    sources = _read(images, layout, [(target.alpha or alpha, target.exif or exif) for target in targets])
    count = len(sources[0])
    names = [f"targets[{index}]" for index in range(len(targets))]
    flips = Flips(resolve_flips(flip, count), resolve_flips(vertical_flip, count, "vertical_flip"))
    given = resolve_given(positions, sizes, boxes, targets, count)
    planned = plan(sources, targets, names, order, flips, flip_before_crop, given, generator)
    outputs = [
        allocate(
            sources[index],
            target,
            output_sizes(sources[index], target, planned.geometries[index], names[index]),
            dtypes[index],
            place or sources[0].device,
            own[index],
            f"out[{index}]",
        )
        for index, target in enumerate(targets)
    ]
    check_apart(outputs, sources[0])
    if count > 0:
        for source in {id(source): source for source in sources}.values():  # PIL images cannot be hashed
            there = source if place is None else on_device(source, place)
            mine = [index for index, its in enumerate(sources) if its is source]
            _write(there, mine, targets, planned, outputs, write)
    places = (
        tuple(
            offsets(geometries, planned.flips, planned.vertical_flips, flip_before_crop)
            for geometries in planned.geometries
        )
        if return_offsets
        else ()
    )
    return tuple(output.value for output in outputs), places  # type: ignore[misc]  # lists where they are asked for


def _write(
    images: Images,
    indices: Sequence[int],
    targets: Sequence[Target],
    planned: Plan,
    outputs: Sequence[Output],
    write: Write,
) -> None:
    """Write the outputs of those targets that see these images: all that take the same ones of them in one go."""
    groups: dict[tuple[int, ...] | None, list[TargetJob]] = {}
    for index in indices:
        target, geometries = targets[index], planned.geometries[index]
        for part in outputs[index].parts:
            its = geometries if part.images is None else tuple([geometries[image] for image in part.images])
            is_shared = planned.is_shared[index] and part.images is None
            resample = filter_of(target.resample, target.arithmetic)
            is_bgr = target.channel_order == "BGR"
            job = TargetJob(target.normalization, resample, its, part.tensor, is_shared, is_bgr)
            groups.setdefault(part.images, []).append(job)
    for some, jobs in groups.items():
        write(images if some is None else images.subset(some), jobs)


def _read(images: object, layout: str, ways: Sequence[tuple[Alpha, Exif]]) -> list[Images]:
    """The images as each target sees them: one object for all targets that see the same pixels.

    A PIL image keeps what it has decoded, so that reading it again decodes nothing.
    """
    first = read_images(images, layout, *ways[0])
    known = {ways[0]: first}
    for way in ways[1:]:
        if way not in known:
            again = read_images(images, layout, *way)
            known[way] = first if first.same_pixels(again) else again
    return [known[way] for way in ways]
