"""A target as a transform of torchvision: the last one, and often the only one, of a `Compose`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fastnorm.ops.preprocess import fused_preprocess
from fastnorm.spec.target import Target, check_target

if TYPE_CHECKING:
    from PIL import Image

_LAYOUTS = {3: "CHW", 4: "NCHW"}


class ToTarget(torch.nn.Module):
    """Resizes, crops and normalises as a target says, in place of Resize, CenterCrop, ToTensor and Normalize.

    Example:
        >>> from torchvision.transforms import v2
        >>> transform = v2.Compose([v2.RandomHorizontalFlip(), ToTarget(fastnorm.CLIP_224)])
        >>> transform(PIL.Image.new("RGB", (640, 480))).shape
        torch.Size([3, 224, 224])

    Goes into a `Compose` of either version of the transforms, and into the worker processes of a `DataLoader`: it is
    picklable.

    Args:
        target: What becomes of an image, such as `fastnorm.CLIP_224`. For PIL images with transparent pixels it needs
            an `alpha`.

    Raises:
        TypeError: Something else than a target.
    """

    def __init__(self, target: Target) -> None:
        check_target(target, "target")
        super().__init__()
        self.target = target

    def forward(self, image: Image.Image | torch.Tensor) -> torch.Tensor:
        """The target's tensor.

        Args:
            image: A PIL image, or a uint8 tensor (3, H, W) or (N, 3, H, W) on any device.

        Returns:
            (3, height, width); of a batch (N, 3, height, width).

        Raises:
            TypeError: Something else than an image.
            ValueError: An image that the target refuses, such as one with transparent pixels.
        """
        from PIL import Image

        if isinstance(image, torch.Tensor):
            plain = image.as_subclass(torch.Tensor)  # of a tv_tensors.Image, too
            layout = _LAYOUTS.get(plain.ndim)
            if layout is None:
                raise ValueError(f"image: got a tensor {tuple(plain.shape)}, expected (3, H, W) or (N, 3, H, W)")
            return fused_preprocess(plain, [self.target], layout=layout)[0]  # type: ignore[call-overload, no-any-return]
        if not isinstance(image, Image.Image):
            raise TypeError(
                f"image: got {type(image).__name__}, expected a PIL image or a uint8 tensor (3, H, W); of an array "
                f"(H, W, 3): PIL.Image.fromarray(it)"
            )
        return fused_preprocess(image, [self.target])[0]

    def extra_repr(self) -> str:
        return repr(self.target)
