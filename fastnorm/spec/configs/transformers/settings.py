"""The settings of one image processor: each is asked for by name, and what nobody asked for is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

# What no pixel depends on.
_PLUMBING = (
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "image_seq_length",
    "input_data_format",
    "return_tensors",
)
# What a switch that is off leaves without effect.
_BELONGS_TO = {
    "crop_size": "do_center_crop",
    "image_mean": "do_normalize",
    "image_std": "do_normalize",
    "pad_size": "do_pad",
    "resample": "do_resize",
    "rescale_factor": "do_rescale",
    "size": "do_resize",
}
SIZE_FIELDS = (
    "height",
    "width",
    "shortest_edge",
    "longest_edge",
    "max_height",
    "max_width",
    "min_pixels",
    "max_pixels",
)


class Settings:
    """The attributes of a processor object.

    Args:
        processor: The object, of one of transformers' classes.
        kind: Its class's name without the backend's suffix, such as "CLIPImageProcessor".
        backend: "pil" or "torchvision".
        name: What messages call it.
    """

    def __init__(self, processor: object, kind: str, backend: str, name: str) -> None:
        self.kind, self.backend, self.name = kind, backend, name
        self._values = {key: getattr(processor, key, None) for key in known_keys(type(processor))}
        self._processor = processor
        self._asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401 - whatever a configuration holds
        self._asked.add(key)
        return self._values.get(key, getattr(self._processor, key, None))

    def on(self, switch: str) -> bool:
        """Whether a switch is on; transformers asks `if self.do_resize`, to which None is no."""
        value = self[switch]
        if value is not None and not isinstance(value, bool):
            self.refuse(switch, "it is no switch", "give true or false")
        return bool(value)

    def size(self, key: str = "size") -> Mapping[str, int]:
        """A size as a dictionary of what is given; empty where nothing is."""
        value = self[key]
        if value is None:
            return {}
        if isinstance(value, Mapping):
            return {field: int(pixels) for field, pixels in value.items() if pixels}
        if isinstance(value, int):
            return {"height": value, "width": value}
        return {field: int(getattr(value, field)) for field in SIZE_FIELDS if getattr(value, field, None)}

    def has_no_effect(self, *keys: str) -> None:
        """Pass over settings that this class does not use for `pixel_values`."""
        self._asked.update(keys)

    def refuse(self, key: str, why: str, fix: str) -> NoReturn:
        value = self.size(key) if hasattr(self._values.get(key), "shortest_edge") else self._values.get(key)
        raise ValueError(f"{self.name}: {key} is {value!r}: {why}; {fix}")

    def refuse_the_rest(self) -> None:
        """Refuse settings that are on, or say something, and that the reader did not ask for."""
        for key, value in self._values.items():
            if value is None or value is False or key in self._asked or key in _PLUMBING:
                continue
            if key in _BELONGS_TO and not self._values.get(_BELONGS_TO[key]):
                continue
            self.refuse(key, f"what {self.kind} does by it is not reproduced", HAND_WRITTEN)


Arguments = dict[str, Any]  # of Target
Reader = Callable[[Settings], Arguments]

HAND_WRITTEN = (
    "set it to None or false, or write what the processor does as a Target(...) and hold it to the processor with "
    "fastnorm.verify"
)


def known_keys(kind: type) -> tuple[str, ...]:
    """The names of a class's settings."""
    return tuple(getattr(getattr(kind, "valid_kwargs", None), "__annotations__", ()))
