"""Pictures of any sizes to resized, cropped and normalised batches: the public functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, overload

import torch

from fastnorm.backends import select
from fastnorm.backends.base import TargetJob
from fastnorm.images.batch import Images, read_images
from fastnorm.memory.outputs import check_memory, check_output, new
from fastnorm.runtime.torch_internals import graph_break
from fastnorm.spec.arguments import resolve_dtypes
from fastnorm.spec.filters import FILTERS
from fastnorm.spec.geometry import Geometry, PassOrder
from fastnorm.spec.normalization import CHANNELS
from fastnorm.spec.options import Alpha, Exif, Layout, check_alpha
from fastnorm.spec.plan import offsets, output_size, plan
from fastnorm.spec.presets import CLIP_224, VAE_512
from fastnorm.spec.target import DualOutput, Target, check_target, check_targets

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from typing_extensions import Unpack

    from fastnorm.images.packed import PackedImages

    Pictures = (
        Sequence[Image.Image | torch.Tensor | np.ndarray] | Image.Image | torch.Tensor | np.ndarray | PackedImages
    )
    Flip = bool | Literal["random"] | Sequence[bool] | torch.Tensor | np.ndarray | None

    class Options(TypedDict, total=False):
        layout: Layout
        alpha: Alpha
        exif: Exif
        flip: Flip
        flip_first: bool
        pillow: str | None


Offsets = tuple[torch.Tensor, ...]
Write = Callable[[Images, Sequence[TargetJob]], None]


@overload
def fused_dual_preprocess(
    images: Pictures,
    *,
    vae: Target = ...,
    clip: Target = ...,
    return_offsets: Literal[False] = ...,
    **o: Unpack[Options],
) -> DualOutput: ...
@overload
def fused_dual_preprocess(
    images: Pictures, *, vae: Target = ..., clip: Target = ..., return_offsets: Literal[True], **o: Unpack[Options]
) -> tuple[DualOutput, Offsets]: ...
@overload
def fused_dual_preprocess(
    images: Pictures, *, vae: Target = ..., clip: Target = ..., return_offsets: bool, **o: Unpack[Options]
) -> DualOutput | tuple[DualOutput, Offsets]: ...
def fused_dual_preprocess(
    images: Pictures,
    *,
    vae: Target = VAE_512,
    clip: Target = CLIP_224,
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    flip: Flip = None,
    flip_first: bool = False,
    pillow: str | None = None,
    return_offsets: bool = False,
) -> DualOutput | tuple[DualOutput, Offsets]:
    """Turn decoded pictures of any sizes into the VAE's batch and the CLIP encoder's batch, each at its own size.

    Example:
        >>> pictures = [torch.zeros(600, 800, 3, dtype=torch.uint8), torch.zeros(900, 640, 3, dtype=torch.uint8)]
        >>> vae, clip = fused_dual_preprocess(pictures)
        >>> vae.shape, clip.shape
        (torch.Size([2, 3, 512, 512]), torch.Size([2, 3, 224, 224]))

    Args:
        images: As for `fused_preprocess`.
        vae: The first branch; by default `VAE_512`: torchvision's Resize(512) (bilinear), CenterCrop(512) and
            Normalize([0.5], [0.5]) of a PIL image, as IP-Adapter trains with Stable Diffusion 1.5. diffusers' scripts
            resize with lanczos by now: `VAE_512_LANCZOS`, `VAE_1024_LANCZOS`; `VAE_1024_IP_ADAPTER` is IP-Adapter's
            for SDXL.
        clip: The second; by default `CLIP_224`: transformers' Pillow-backend CLIP image processor.
        layout, alpha, exif, flip, flip_first, pillow, return_offsets: As for `fused_preprocess`.

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
        layout=layout,
        alpha=alpha,
        exif=exif,
        flip=flip,
        flip_first=flip_first,
        pillow=pillow,
        return_offsets=return_offsets,
    )
    return (DualOutput(*outputs), places) if return_offsets else DualOutput(*outputs)


@overload
def fused_preprocess(
    images: Pictures, targets: Sequence[Target], *, return_offsets: Literal[False] = ..., **o: Unpack[Options]
) -> tuple[torch.Tensor, ...]: ...
@overload
def fused_preprocess(
    images: Pictures, targets: Sequence[Target], *, return_offsets: Literal[True], **o: Unpack[Options]
) -> tuple[tuple[torch.Tensor, ...], Offsets]: ...
@overload
def fused_preprocess(
    images: Pictures, targets: Sequence[Target], *, return_offsets: bool, **o: Unpack[Options]
) -> tuple[torch.Tensor, ...] | tuple[tuple[torch.Tensor, ...], Offsets]: ...
def fused_preprocess(
    images: Pictures,
    targets: Sequence[Target],
    *,
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    flip: Flip = None,
    flip_first: bool = False,
    pillow: str | None = None,
    return_offsets: bool = False,
) -> tuple[torch.Tensor, ...] | tuple[tuple[torch.Tensor, ...], Offsets]:
    """Resize, crop and normalise decoded pictures for any number of models, each at its own size, in one call.

    Example:
        >>> pictures = [torch.zeros(600, 800, 3, dtype=torch.uint8), torch.zeros(900, 640, 3, dtype=torch.uint8)]
        >>> random = Target(fastnorm.VAE, size=1024, crop=fastnorm.Crop(1024, "random"))
        >>> (vae, clip), offsets = fused_preprocess(pictures, [random, fastnorm.CLIP_224], return_offsets=True)
        >>> vae.shape, offsets[0].shape  # one (top, left) per picture: SDXL's crop_coords_top_left
        (torch.Size([2, 3, 1024, 1024]), torch.Size([2, 2]))

    Every pixel is the one that Pillow's `Image.resize` gives, in integers, then `fused_normalize`'s rounding. Tensors
    on CUDA take Triton kernels, a constant number of launches for any pictures; on the CPU Pillow itself resizes.

    Args:
        images: A list of pictures of any sizes, each a PIL image or uint8 (H, W, 3) or (3, H, W); or one batch
            (N, H, W, 3) or (N, 3, H, W), with more leading axes for video; or `PackedImages`; or one picture by itself.
            Tensors may have any strides and lie on any device, the same for all; R, G, B order.
        targets: What to make of them, at least one: presets such as `fastnorm.CLIP_224`, or `Target(...)`.
        layout: "NHWC" / "HWC", "NCHW" / "CHW", or "auto", which looks for the axis of length 3.
        alpha: Transparent pixels of PIL images: "error", "drop" (as torchvision pipelines, with `convert("RGB")`) or
            "white" (put on white, as transformers does). A target's own `alpha` comes first: white for CLIP and drop
            for the VAE, say, in one call that decodes each picture once.
        exif: An EXIF orientation of PIL images: "ignore" (as both published pipelines), "apply" or "error".
        flip: Which pictures to mirror left to right, in all targets: one bool, or one per picture; or "random", each
            with probability 1/2; what else is mirrored along needs flips of your own, `torch.rand(n) < 0.5`. They are
            mirrored after the crop, as by `RandomHorizontalFlip` behind it.
        flip_first: Mirror the resized picture before it is cropped, as diffusers' SDXL script does; offsets then count
            in the mirrored picture.

            With `Crop(size, "random")`, `flip="random"` draws what diffusers' `train_text_to_image.py` draws after the
            same `torch.manual_seed`: for each picture in turn top, left, then one number for the mirror. With
            `flip_first=True` too it draws what `train_text_to_image_sdxl.py` does: for each picture `random.random()`,
            a number of torch's if it is mirrored, top, left; given flips leave out `random.random()` alone. Several
            targets that crop at random: the first one is drawn so, then the others, one after the other.
        pillow: The Pillow version whose pixels to reproduce, such as "12" or "13": its order of the two passes shows in
            tall pictures. None: the installed one's.
        return_offsets: Return the crops' places too.

    Returns:
        One tensor of shape (N, 3, height, width) per target, without N for a single picture. With `return_offsets`, a
        pair of those and of one int64 CPU tensor (N, 2) per target: the crop's (top, left) in the resized picture,
        negative where it begins with padding.

    Raises:
        TypeError: A wrong kind of picture, target or option.
        ValueError: A wrong value: sizes, channels, transparent pixels, results of different sizes in one target, an
            `out` that does not fit. The message names the picture; every check comes before any pixel is resized.
    """
    outputs, places = run(
        images,
        check_targets(targets),
        select.preprocess,
        layout=layout,
        alpha=alpha,
        exif=exif,
        flip=flip,
        flip_first=flip_first,
        pillow=pillow,
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
    layout: Layout = "auto",
    alpha: Alpha = "error",
    exif: Exif = "ignore",
    flip: Flip = None,
    flip_first: bool = False,
    pillow: str | None = None,
) -> tuple[tuple[torch.Tensor, ...], Offsets]:
    order = _pass_order(pillow)
    for option, value in (("flip_first", flip_first), ("return_offsets", return_offsets)):
        if not isinstance(value, bool):
            raise TypeError(f"{option}: got {value!r}, expected True or False")
    check_alpha(alpha)
    seen = _read(images, layout, [target.alpha or alpha for target in targets], exif)
    pictures = seen[0]
    names = [f"targets[{index}]" for index in range(len(targets))]
    plans, flips = plan(pictures, targets, names, order, _flips(flip, len(pictures)), flip_first)
    outputs = _outputs(pictures, targets, plans, names)
    jobs = [
        TargetJob(target.normalization, FILTERS[target.resample], geometries, _one_batch_axis(output, name))
        for target, geometries, output, name in zip(targets, plans, outputs, names, strict=True)
    ]
    if len(pictures) > 0:
        for source in {id(source): source for source in seen}.values():  # PIL images cannot be hashed
            write(source, [job for job, its in zip(jobs, seen, strict=True) if its is source])
    places = tuple(offsets(geometries, flips, flip_first) for geometries in plans) if return_offsets else ()
    return outputs, places


def _read(images: object, layout: str, alphas: Sequence[Alpha], exif: str) -> list[Images]:
    """The pictures as each target sees them: one object for all targets that see the same pixels.

    A PIL image keeps what it has decoded, so that reading it again decodes nothing.
    """
    first = read_images(images, layout, alphas[0], exif)
    known = {alphas[0]: first}
    for alpha in alphas[1:]:
        if alpha not in known:
            again = read_images(images, layout, alpha, exif)
            known[alpha] = first if first.same_pixels(again) else again
    return [known[alpha] for alpha in alphas]


def _pass_order(pillow: object) -> PassOrder:
    if pillow is not None and not isinstance(pillow, str):
        raise TypeError(f"pillow: got {type(pillow).__name__}, wanted a version such as '13', or None")
    return PassOrder.of_pillow(pillow)


def _flips(flip: object, count: int) -> list[bool] | None:
    """Which pictures are mirrored; None if that is to be drawn."""
    if flip is None or isinstance(flip, bool):
        return [bool(flip)] * count
    if isinstance(flip, str) and flip == "random":
        return None
    values = flip.tolist() if hasattr(flip, "tolist") else flip
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"flip: got {type(flip).__name__}, expected True, False, 'random', or one bool per image")
    for value in values:
        if not isinstance(value, bool):
            raise TypeError(f"flip: got {value!r} among them, wanted True or False: torch.rand(n) < 0.5")
    if len(values) != count:
        raise ValueError(f"flip: got {len(values)} values for {count} images, wanted one per image")
    return list(values)


def _outputs(
    pictures: Images, targets: Sequence[Target], plans: Sequence[Sequence[Geometry]], names: Sequence[str]
) -> tuple[torch.Tensor, ...]:
    """One tensor per target: its `out` after the checks, or new memory."""
    outputs, given = [], {}
    for target, geometries, name in zip(targets, plans, names, strict=True):
        shape = (*pictures.leading, CHANNELS, *output_size(pictures, target, geometries, name))
        if target.out is None:
            memory_format = target.memory_format or torch.contiguous_format
            outputs.append(new(shape, pictures.device, target.dtype or torch.float32, memory_format))
        else:
            dtype = target.dtype or target.out.dtype
            resolve_dtypes(dtype, 1)
            check_output(f"{name}.out", target.out, shape, pictures.device, dtype, target.memory_format)
            outputs.append(target.out)
            given[f"{name}.out"] = target.out
    check_memory(given, {f"images[{index}]": tensor for index, tensor in enumerate(pictures.memory)})
    return tuple(outputs)


def _one_batch_axis(output: torch.Tensor, name: str) -> torch.Tensor:
    shape = (-1, *output.shape[-3:]) if output.numel() else (0, *output.shape[-3:])
    try:
        return output.view(shape)
    except RuntimeError:
        raise ValueError(
            f"{name}.out: got strides {output.stride()}, whose leading axes do not form one; wanted out.contiguous()"
        ) from None
