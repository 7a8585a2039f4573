"""What a target of a preprocess call asks for: how to resize, where to crop and how to normalise."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from fastnorm.spec.arguments import check_normalization, resolve_dtypes, resolve_memory_formats
from fastnorm.spec.configs.targets import Backend, read_target
from fastnorm.spec.filters import TORCH_FILTERS
from fastnorm.spec.geometry import PassOrder, Size
from fastnorm.spec.lowering import lower
from fastnorm.spec.normalization import Normalization
from fastnorm.spec.options import (
    Alpha,
    Arithmetic,
    ChannelOrder,
    Exif,
    FilterName,
    check_alpha,
    check_arithmetic,
    check_channel_order,
    check_exif,
)
from fastnorm.spec.padding import BLACK_BORDERS, Pad
from fastnorm.spec.size import pair
from fastnorm.spec.sizes import SizeRule
from fastnorm.spec.steps import (
    BATCH,
    Crop,
    Halve,
    Resize,
    Step,
    checked_crop,
    checked_gap,
    checked_steps,
    filter_name,
    resize_size,
)


@dataclass(frozen=True, init=False)
class Target:
    """One target of a preprocess call: how to resize, crop and normalise.

    Example:
        >>> Target(fastnorm.DINOV2, size=256, resample="bicubic", crop=224, dtype=torch.bfloat16).crop
        Crop(size=Size(height=224, width=224), position='torchvision')
        >>> dataclasses.replace(fastnorm.VAE_512, size=768).crop_size
        Size(height=768, width=768)

    Frozen, hashable and picklable; equal where everything is equal. `dataclasses.replace` makes a variant. What
    published processors do, and how to say it here: the page on geometry.

    Args:
        normalization: What becomes of the resized uint8 pixels, such as `fastnorm.CLIP`.
        size: Resize the short side to this many pixels, the long side in proportion (rounded down), as
            `{"shortest_edge": 224}` in a transformers configuration; or to exactly (height, width); or as a rule says,
            such as `Sides(longest=1024)` or any function (height, width) -> (height, width) of whole pixels, which has
            to give the same for the same image; None: not at all.
        resample: Pillow's filter: "bilinear", "bicubic", "lanczos", "box" or "hamming", always antialiased; or
            "nearest". Pillow's `Image.Resampling`, its numbers (3 is bicubic) and torchvision's `InterpolationMode` are
            understood too.
        crop: What to keep: a `Crop`, or its size alone for torchvision's `CenterCrop`; None: everything.
        pad: What lies around images that are smaller than the crop, or any that comes before: a `Pad`; True: black
            borders, as in both libraries; False refuses such images.
        dtype: float32, float16 or bfloat16; None takes the call's.
        memory_format: `torch.contiguous_format` (the default) or `torch.channels_last`.
        alpha: What becomes of transparent pixels of PIL images in this target: "error", "drop" or "white", as for
            `fused_preprocess`; None takes the call's. Tensors, arrays and `PackedImages` have no alpha: it is ignored.
        arithmetic: Whose resized pixels, on every device: "pillow", those of `Image.resize`; or "torch", those of
            antialiased `torch.nn.functional.interpolate` of uint8 tensors on a CPU, which torchvision's `Resize` of
            tensors and transformers' default image processors call. torch has "bilinear", "bicubic" and "lanczos". The
            two differ by 1 in some pixel values.
        exif: What becomes of an EXIF orientation of PIL images in this target: "ignore", "apply" or "error"; None
            takes the call's.
        before: Steps that come first, one after the other: `Crop`, `Border`, `Resize`, `Halve`; each rounds to uint8,
            as published code does.
        reducing_gap: Pillow's: an image that shrinks by far is first reduced by whole numbers, by block means, to no
            less than this many times its resized size. 1.0 or more; None: not.
        batch: Whether the output is one tensor (N, 3, height, width), which takes images that come out in one size.
            False: a list of one tensor (3, height, width) per image, of any sizes.
        channel_order: "RGB", or "BGR" for a model that takes blue first, as MobileViT does: the same output with its
            channels the other way round, `output.flip(-3)`. What is given for channels (mean, std, the values of a
            `Pad`) stays in the order R, G, B, and so do the images. `denormalize`, `renormalize` and `guard`, which
            take a `Normalization`, want R, G, B too: give them `output.flip(-3)`.

    Raises:
        TypeError, ValueError: Before any image is looked at.
    """

    normalization: Normalization
    size: int | Size | SizeRule | None
    resample: FilterName
    crop: Crop | None
    pad: Pad | bool
    dtype: torch.dtype | None
    memory_format: torch.memory_format | None
    alpha: Alpha | None
    arithmetic: Arithmetic
    exif: Exif | None
    before: tuple[Step, ...]
    reducing_gap: float | None
    batch: bool
    channel_order: ChannelOrder

    def __init__(
        self,
        normalization: Normalization,
        size: int | Sequence[int] | Mapping[str, int] | SizeRule | None = None,
        resample: FilterName | int | enum.Enum = "bilinear",  # torchvision has no types for its own enumeration
        crop: int | Sequence[int] | Crop | None = None,
        pad: bool | Pad = True,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format | None = None,
        alpha: Alpha | None = None,
        *,
        arithmetic: Arithmetic = "pillow",
        exif: Exif | None = None,
        before: Step | Sequence[Step] = (),
        reducing_gap: float | None = None,
        batch: bool = True,
        channel_order: ChannelOrder = "RGB",
    ) -> None:
        check_normalization(normalization, "normalization")
        if not isinstance(pad, (bool, Pad)):
            raise TypeError(
                f"pad: got {type(pad).__name__}, expected True (black borders), False (an error), or a Pad: "
                f"Pad(fill=(122, 116, 104))"
            )
        if dtype is not None:
            resolve_dtypes(dtype, 1)
        if memory_format is not None:
            resolve_memory_formats(memory_format, 1)
        if alpha is not None:
            check_alpha(alpha)
        check_arithmetic(arithmetic)
        if exif is not None:
            check_exif(exif)
        if not isinstance(batch, bool):
            raise TypeError(f"batch: got {batch!r}, expected True (one tensor) or False (a list of one per image)")
        check_channel_order(channel_order)
        values = {
            "normalization": normalization,
            "size": resize_size(size),
            "resample": filter_name(resample),
            "crop": checked_crop(crop),
            # One value for one meaning, so that equal targets are equal.
            "pad": True if isinstance(pad, Pad) and pad.is_black else pad,
            "dtype": dtype,
            "memory_format": memory_format,
            "alpha": alpha,
            "arithmetic": arithmetic,
            "exif": exif,
            "before": checked_steps(before),
            "reducing_gap": checked_gap(reducing_gap),
            "batch": batch,
            "channel_order": channel_order,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if arithmetic == "torch":
            _check_torch_has(self)
        if self.crop is not None and self.crop.size is None and not isinstance(self.size, (int, Size)):
            came = "size=None" if self.size is None else f"size={self.size!r}"
            raise ValueError(f"crop: got a Crop without a size for {came}, expected one of them: Crop(224)")
        if self.crop is not None and self.crop.size == BATCH and not (batch and pad):
            raise ValueError(
                f"crop: got Crop('batch') with batch={batch} and pad={pad}, expected a batch, whose smaller images are "
                f"padded, or another size"
            )

    @classmethod
    def from_config(
        cls,
        source: str | os.PathLike[str] | Mapping[str, Any] | object,
        backend: Backend | None = None,
        **changes: object,
    ) -> Target:
        """Read a published image processor's configuration, whole: geometry, filter, arithmetic and normalisation.

        Example:
            >>> clip = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 336}}
            >>> target = Target.from_config(clip, backend="pil", dtype=torch.bfloat16)
            >>> target.size, target.resample, target.crop_size, target.dtype
            (336, 'bicubic', Size(height=224, width=224), torch.bfloat16)

        Classes are understood one by one; the page on conformance lists them, and what is refused and why. Of classes
        that cut an image into patches, such as Qwen2-VL's, the target gives the pixels before they are cut.

        Args:
            source: A `preprocessor_config.json`, its folder or its contents as a dict; a transformers image processor
                (or a processor that has one); timm's `pretrained_cfg` or `create_transform(...)`; open_clip's
                `PreprocessCfg`; torchvision's `weights.transforms()`, or a `Compose`; diffusers' `VaeImageProcessor`. A
                model's name on the Hugging Face Hub is looked up in the local cache, never downloaded. A file of
                transformers needs the package, whose classes hold the defaults of what it leaves out.
            backend: Whose pixels a transformers configuration asks for: "pil" (Pillow's) or "torchvision" (torch's
                arithmetic, the default of transformers 5). None: an object's own; of a configuration, what transformers
                itself would take, "torchvision" where the class has it. Of a torchvision Compose, what it is given:
                "pil", images (the default where it takes both), or "torchvision", uint8 tensors.
            **changes: Arguments of `Target` to set otherwise, such as `dtype=torch.bfloat16`.

        Returns:
            The target. Its outputs equal the processor's `pixel_values`, bit for bit.

        Raises:
            FileNotFoundError: No such file, or not in the local cache.
            ImportError: A transformers file without transformers.
            TypeError: Something else than the above.
            ValueError: A class or a setting that is not reproduced: which, why, and what to do instead. A class of your
                own is read as the one of transformers that it descends from, if both give the same values of images
                that are tried on the spot.
        """
        arguments: dict[str, Any] = {**read_target(source, backend), **changes}
        return cls(**arguments)

    def resized_size(self, size: Sequence[int]) -> Size:
        """What an image of this size is resized to, before it is cropped: where `positions=` count.

        Example:
            >>> fastnorm.VAE_1024.resized_size((600, 800))
            Size(height=1024, width=1365)

        Args:
            size: The image's (height, width) in pixels.

        Raises:
            TypeError, ValueError: Not two whole numbers above 0, or a size that the target refuses.
        """
        source = pair("size", size)
        try:
            return lower(source, self, PassOrder.of_pillow()).resized
        except ValueError as error:
            raise ValueError(f"size: an image {error}") from None

    @property
    def crop_size(self) -> Size | None:
        """The crop's size, its own or the target's; None without a crop, or where it depends on the images."""
        if self.crop is None:
            return None
        if self.crop.size is not None:
            return self.crop.fixed_size
        if isinstance(self.size, int):
            return Size(self.size, self.size)
        return self.size if isinstance(self.size, Size) else None

    @property
    def fixed_size(self) -> Size | None:
        """The size of every output, where it is the same for all images."""
        if self.crop is not None:
            return self.crop_size
        return self.size if isinstance(self.size, Size) else None

    @property
    def padding(self) -> Pad:
        """The `pad`, spelt out."""
        return self.pad if isinstance(self.pad, Pad) else BLACK_BORDERS


def _check_torch_has(target: Target) -> None:
    """Refuse what antialiased `interpolate` of uint8 tensors on a CPU does not do, and only Pillow does."""
    if target.resample not in TORCH_FILTERS:
        why = (
            "torch's nearest pixels are others than Pillow's" if target.resample == "nearest" else "torch has no other"
        )
        raise ValueError(
            f"resample: got {target.resample!r} with arithmetic='torch', expected one of "
            f"{', '.join(map(repr, TORCH_FILTERS))}, which torch antialiases uint8 with ({why}); for Pillow's: "
            f"Target(..., resample={target.resample!r}, arithmetic='pillow')"
        )
    if target.reducing_gap is not None:
        raise ValueError(
            f"reducing_gap: got {target.reducing_gap:g} with arithmetic='torch', expected None: torch does not reduce "
            f"before it resizes; Pillow does: Target(..., arithmetic='pillow')"
        )
    for index, step in enumerate(target.before):
        if isinstance(step, (Resize, Halve)):
            raise ValueError(
                f"before[{index}]: got {step} with arithmetic='torch', expected a Crop or a Border: steps that resize "
                f"are Pillow's; Target(..., arithmetic='pillow')"
            )


class DualOutput(NamedTuple):
    """What the dual functions return: the two tensors, by position or by name."""

    vae: torch.Tensor
    clip: torch.Tensor

    def __repr__(self) -> str:
        shown = (f"{name}={_summary(tensor)}" for name, tensor in zip(self._fields, self, strict=True))
        return f"DualOutput({', '.join(shown)})"


def _summary(tensor: torch.Tensor | list[torch.Tensor]) -> str:
    if isinstance(tensor, list):
        return f"list of {len(tensor)} tensors"
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{dtype} tensor of shape {tuple(tensor.shape)} on {tensor.device}"


def check_targets(targets: object) -> tuple[Target, ...]:
    """The targets as a tuple, or an error that shows the call to make."""
    if isinstance(targets, Target):
        raise TypeError("targets: got one Target, expected a list of them: fused_preprocess(images, [it])")
    if isinstance(targets, str) or not isinstance(targets, Sequence):
        raise TypeError(
            f"targets: got {type(targets).__name__}, expected a list such as [fastnorm.VAE_512, fastnorm.CLIP_224]"
        )
    if not targets:
        raise ValueError("targets: got an empty list, expected at least one target, such as [fastnorm.CLIP_224]")
    for index, target in enumerate(targets):
        check_target(target, f"targets[{index}]")
    return tuple(targets)


def check_target(target: object, what: str) -> None:
    if isinstance(target, Target):
        return
    if isinstance(target, Normalization):
        raise TypeError(
            f"{what}: got a Normalization, expected a Target, which says how to resize and crop too: "
            f"fastnorm.Target(it, size=224, resample='bicubic', crop=224)"
        )
    raise TypeError(f"{what}: got {type(target).__name__}, expected a fastnorm.Target, such as fastnorm.CLIP_224")
