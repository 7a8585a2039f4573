"""The error about one image of several."""

from __future__ import annotations


class PictureError(ValueError):
    """One image of a call that cannot be used, while its neighbours can.

    Example:
        >>> tall = torch.zeros(3, 1, 3, dtype=torch.uint8)
        >>> try:
        ...     fastnorm.fused_preprocess([torch.zeros(8, 8, 3).byte(), tall], [Target(fastnorm.CLIP, crop=8, pad=False)])
        ... except fastnorm.PictureError as error:
        ...     print(error.index)
        1

    Args:
        message: What is wrong, with the image's name.
        index: Which image of the call; None where it was given by itself.
        key: The column of the sample that held it; None where there was no sample.
    """

    def __init__(self, message: str, index: int | None = None, key: str | None = None) -> None:
        super().__init__(message)
        self.index, self.key = index, key

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, int | None, str | None]]:
        return type(self), (str(self), self.index, self.key)  # from a worker to the main process
