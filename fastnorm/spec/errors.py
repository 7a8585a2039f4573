"""The error about one image of several."""

from __future__ import annotations


class PictureError(ValueError):
    """One image of a call that cannot be used, while its neighbours can.

    Example:
        >>> images = [np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 3), np.uint8)]
        >>> try:
        ...     fastnorm.fused_preprocess(images, [fastnorm.CLIP_224])
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
