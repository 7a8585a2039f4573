"""What was passed, as the settings of a processor object of one of transformers' own classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastnorm.spec.configs.transformers.classes import reader_of
from fastnorm.spec.configs.transformers.settings import Settings, known_keys

BACKENDS = ("pil", "torchvision")
_TYPE_KEYS = ("image_processor_type", "feature_extractor_type")
# What stands in files and says nothing of pixels.
_DESCRIPTIONS = (
    *_TYPE_KEYS,
    "_processor_class",
    "_valid_processor_keys",
    "processor_class",
    "reduce_labels",
    "transformers_version",
)


def load(source: object, name: str, backend: str | None) -> Settings:
    """The settings of a processor, or of the one that transformers would make of a dictionary."""
    if backend is not None and backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, expected 'pil', 'torchvision' or None")
    if isinstance(source, Mapping):
        return _of_dictionary(source, name, backend)
    processor: Any = getattr(source, "image_processor", source)
    if type(processor).__module__.partition(".")[0] != "transformers":
        from fastnorm.spec.configs.transformers.own_classes import ancestor_of  # which needs PIL

        processor = ancestor_of(processor, name)
    kind = type(processor)
    own = _backend_of(kind)
    if backend not in (None, own):
        return _of_dictionary(processor.to_dict(), kind.__name__, backend)
    return Settings(processor, _without_suffix(kind.__name__), own, kind.__name__)


def _of_dictionary(values: Mapping[str, Any], name: str, backend: str | None) -> Settings:
    if isinstance(values.get("image_processor"), Mapping):  # processor_config.json
        values = values["image_processor"]
    kind = _kind(values, name)
    reader_of(kind, name)  # refuses what need not be built
    processor = _build(kind, values, name, backend)
    own = _backend_of(type(processor))
    if backend not in (None, own):
        raise ValueError(f"{name}: backend: got {backend!r}, expected {own!r}, the only one that {kind} has")
    return Settings(processor, kind, own, name)


def _kind(values: Mapping[str, Any], name: str) -> str:
    if isinstance(values.get("auto_map"), Mapping):
        raise ValueError(
            f"{name}: auto_map names code of the model's own repository, which may do anything; if you load it without "
            f"trust_remote_code, leave the key out: Target.from_config({{k: v for k, v in config.items() if k != "
            f"'auto_map'}})"
        )
    found = next((values[key] for key in _TYPE_KEYS if isinstance(values.get(key), str)), None)
    if found is None:
        raise ValueError(
            f"{name}: says no image_processor_type, and each class does something else; name it: "
            f"Target.from_config({{**config, 'image_processor_type': 'CLIPImageProcessor'}})"
        )
    return _without_suffix(found.replace("FeatureExtractor", "ImageProcessor"))


def _without_suffix(kind: str) -> str:
    return kind.removesuffix("Pil").removesuffix("Fast")


def _build(kind: str, values: Mapping[str, Any], name: str, backend: str | None) -> object:
    """The object that transformers makes of a dictionary: it knows the defaults of what is left out."""
    try:
        import transformers
        from transformers.models.auto import image_processing_auto
    except ImportError as error:
        raise ImportError(
            f"{name}: transformers cannot be imported ({error}), whose classes hold the defaults of a configuration; "
            f"pip install 'transformers>=5'"
        ) from None
    pillow_first = getattr(image_processing_auto, "DEFAULT_TO_PIL_BACKEND_IMAGE_PROCESSORS", ())
    by_pillow = backend == "pil" or (backend is None and kind in pillow_first)
    names = (f"{kind}Pil", kind) if by_pillow else (kind, f"{kind}Pil")
    cls = next((getattr(transformers, one) for one in names if hasattr(transformers, one)), None)
    if cls is None:
        raise ValueError(f"{name}: got {kind}, which transformers {transformers.__version__} does not have")
    if kind == "TimmWrapperImageProcessor":
        raise ValueError(
            f"{name}: got what a {kind} saves, which transformers does not read itself, expected the model's timm "
            f"configuration: Target.from_config({{'pretrained_cfg': ...}})"
        )
    unknown = {key for key, value in values.items() if value is not None} - _keys_of(cls)
    if unknown:
        raise ValueError(
            f"{name}: {', '.join(sorted(unknown))}: got {'a setting' if len(unknown) == 1 else 'settings'} that {kind} "
            f"does not know and would ignore; leave out what is not meant for it"
        )
    return cls(**{key: value for key, value in values.items() if key not in _DESCRIPTIONS})


def _keys_of(cls: type) -> set[str]:
    """What a class's files can hold: its settings, what its own `save_pretrained` adds, and older names of both."""
    return {
        *known_keys(cls),
        *_as_dictionary(cls),
        *_DESCRIPTIONS,
        *_OLDER_NAMES.get(_without_suffix(cls.__name__), ()),
    }


def _as_dictionary(cls: Any) -> Mapping[str, Any]:  # noqa: ANN401 - transformers has no types
    return cls().to_dict()  # type: ignore[no-any-return]


_SMART_RESIZE = ("min_pixels", "max_pixels")
_DETECTION = ("max_size", "pad_and_return_pixel_mask")
# Arguments that constructors still take.
_OLDER_NAMES: Mapping[str, tuple[str, ...]] = {
    "CLIPImageProcessor": ("use_square_size",),
    "IdeficsImageProcessor": ("image_size",),
    **dict.fromkeys(
        (
            "CohereCompassImageProcessor",
            "GlmImageImageProcessor",
            "HYV4VLImageProcessor",
            "HunYuanVLImageProcessor",
            "MiniMaxM3VLImageProcessor",
            "PaddleOCRVLImageProcessor",
            "Qwen2VLImageProcessor",
            "VideoLlama3ImageProcessor",
        ),
        _SMART_RESIZE,
    ),
    **dict.fromkeys(
        (
            "ConditionalDetrImageProcessor",
            "DeformableDetrImageProcessor",
            "DetrImageProcessor",
            "GroundingDinoImageProcessor",
            "YolosImageProcessor",
        ),
        _DETECTION,
    ),
    **dict.fromkeys(("Mask2FormerImageProcessor", "MaskFormerImageProcessor"), ("max_size",)),
    "Swin2SRImageProcessor": ("pad_size",),
}


def _backend_of(kind: type) -> str:
    """By the class's ancestors: a class of neither backend computes with numpy and Pillow."""
    return "torchvision" if any(base.__name__ == "TorchvisionBackend" for base in kind.__mro__) else "pil"
