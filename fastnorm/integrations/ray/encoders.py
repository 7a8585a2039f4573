"""What encodes a batch of tensors: a transformers vision model, a diffusers VAE, or a function of one's own.

| given | outputs |
|---|---|
| a transformers vision model's folder | `NAME`: `image_embeds`, else `pooler_output`; `MODEL#OUTPUT` names another |
| a diffusers VAE's folder | `NAME_mean`, `NAME_std` of the posterior, not scaled; never a sample of it |
| `module:function` | `NAME`: the tensor (N, ...) it makes of (N, 3, height, width); `NAME_KEY` for a dictionary |

Every batch has the same shape, padded with zeros, and one thread computes it on the CPU: libraries choose other
algorithms for other shapes and numbers of threads, and so other roundings.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from fastnorm.data.text import printable
from fastnorm.integrations.ray.identity import hash_file

Kind = Literal["transformers", "diffusers", "function"]
Run = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_DESCRIPTIONS = (".json", ".py")
# Of models with a text encoder, the part that sees.
_VISION = {
    "CLIPModel": "CLIPVisionModelWithProjection",
    "SiglipModel": "SiglipVisionModel",
    "Siglip2Model": "Siglip2VisionModel",
}


@dataclass(frozen=True)
class Encoder:
    """An encoder that is not loaded yet: what is sent to the workers."""

    kind: Kind
    source: str
    model_class: str = ""
    output: str = ""
    search: str = ""  # where the function's module was found

    @classmethod
    def of(cls, given: str | Path, name: str) -> Encoder:
        """Look at the folder or the function, and load no weights.

        Raises:
            TypeError, ValueError, FileNotFoundError: Neither of the three.
        """
        if not isinstance(given, (str, Path)):
            raise TypeError(
                f"{name}: got {type(given).__name__} for its encoder, expected a model's folder or 'module:function', "
                f"which workers can load"
            )
        text, _, output = str(given).partition("#")
        folder = Path(text)
        if folder.is_dir():
            return cls._of_folder(folder, output, name)
        if ":" in text and "/" not in text:
            return cls._of_function(text, name)
        raise FileNotFoundError(
            f"{name}: got {printable(text)!r} for its encoder, expected the folder of a transformers vision model or "
            f"of a diffusers VAE, or module:function; nothing is downloaded here: hf download MODEL prints a folder"
        )

    @classmethod
    def _of_folder(cls, folder: Path, output: str, name: str) -> Encoder:
        shown = printable(str(folder))
        if (folder / "model_index.json").is_file():
            raise ValueError(f"{name}: got a diffusers pipeline, expected one model; for its VAE: {folder / 'vae'}")
        try:
            config = json.loads((folder / "config.json").read_text())
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{name}: got no config.json that can be read in {shown} ({error}), expected the folder of a model, as "
                f"save_pretrained writes it"
            ) from None
        if not any(path.suffix in _WEIGHTS for path in folder.iterdir()):
            raise ValueError(f"{name}: got no weights in {shown}, expected a file such as model.safetensors")
        path = str(folder.absolute())
        if "_class_name" in config:
            if output:
                raise ValueError(f"{name}: got the output {output!r} of a VAE, expected none: it has a mean and a std")
            return cls("diffusers", path, config["_class_name"])
        if "model_type" not in config:
            raise ValueError(
                f"{name}: got a config.json of no known kind in {shown}, expected transformers' or diffusers'"
            )
        architecture = (config.get("architectures") or [""])[0]
        projects = architecture.endswith("VisionModelWithProjection")
        return cls("transformers", path, architecture if projects else _VISION.get(architecture, "AutoModel"), output)

    @classmethod
    def _of_function(cls, text: str, name: str) -> Encoder:
        module, _, function = text.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
            file = inspect.getsourcefile(importlib.import_module(module))
        except (ImportError, AttributeError, TypeError) as error:
            raise ValueError(f"{name}: got {text!r} for its encoder, which cannot be imported: {error}") from None
        if not callable(found) or file is None:
            raise ValueError(
                f"{name}: got {text!r} for its encoder, expected a function of a module with a source file"
            )
        depth = len(module.split(".")) + (Path(file).name == "__init__.py")
        return cls("function", text, search=str(Path(file).absolute().parents[depth - 1]))

    def described(self) -> dict[str, Any]:
        """What its rows depend on: hashes of the files with its weights and settings; of a function, of its module."""
        if self.kind == "function":
            function = self._function()
            file = inspect.getsourcefile(inspect.getmodule(function) or function)
            own = getattr(function, "fingerprint", None)
            return {"kind": self.kind, "name": self.source, "source": hash_file(Path(str(file))), "own": str(own or "")}
        files = sorted(path for path in Path(self.source).iterdir() if path.suffix in _WEIGHTS + _DESCRIPTIONS)
        hashes = {path.name: hash_file(path) for path in files}
        return {"kind": self.kind, "class": self.model_class, "output": self.output, "files": hashes}

    def load(self, device: torch.device, dtype: torch.dtype) -> Run:
        """The model on its device, as a function from a batch to its outputs; their names are "" or suffixes."""
        if self.kind == "function":
            return _of_anything(self._function())
        model = self._model(device, dtype)
        return _posterior(model) if self.kind == "diffusers" else _embedding(model, self.output)

    def decoder(self, device: torch.device, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
        """Of a diffusers VAE: from the posterior's mean, as it is in the shards, to normalised pixels."""
        model = self._model(device, dtype)
        return lambda latents: torch.as_tensor(model.decode(latents).sample)

    def _function(self) -> Callable[[torch.Tensor], Any]:
        if self.search not in sys.path:
            sys.path.insert(0, self.search)
        module, _, function = self.source.partition(":")
        found: Callable[[torch.Tensor], Any] = getattr(importlib.import_module(module), function)
        return found

    def _model(self, device: torch.device, dtype: torch.dtype) -> Any:
        package = importlib.import_module(self.kind)
        made = getattr(package, self.model_class, None)
        if made is None:
            raise ValueError(f"{self.source}: got the class {self.model_class}, which this {self.kind} does not have")
        # diffusers keeps some modules of some models in float32, unless they are cast afterwards.
        options = {"torch_dtype": dtype} if self.kind == "diffusers" else {}
        model = made.from_pretrained(self.source, local_files_only=True, **options).to(device).eval()
        return model if options else model.to(dtype)


def _posterior(model: Any) -> Run:
    def run(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        found = model.encode(batch)
        if not hasattr(found, "latent_dist"):
            raise ValueError(f"got a {type(model).__name__}, which has no posterior, expected a VAE as AutoencoderKL")
        return {"mean": found.latent_dist.mean, "std": found.latent_dist.std}

    return run


def _embedding(model: Any, output: str) -> Run:
    if model.main_input_name != "pixel_values":
        raise ValueError(
            f"got a {type(model).__name__}, which takes {model.main_input_name}, expected a vision model; its vision "
            f"part can be saved as a model of its own"
        )

    def run(batch: torch.Tensor) -> dict[str, torch.Tensor]:
        found = model(pixel_values=batch)
        for name in [output] if output else ["image_embeds", "pooler_output"]:
            if isinstance(found.get(name), torch.Tensor):
                return {"": found[name]}
        names = [name for name, value in found.items() if isinstance(value, torch.Tensor)]
        wanted = output or "image_embeds or pooler_output"
        raise ValueError(f"got no {wanted} from {type(model).__name__}, expected one of its outputs: MODEL#{names[0]}")

    return run


def _of_anything(function: Callable[[torch.Tensor], Any]) -> Run:
    def run(batch: torch.Tensor) -> Mapping[str, torch.Tensor]:
        found = function(batch)
        outputs = found if isinstance(found, Mapping) else {"": found}
        for name, value in outputs.items():
            if not isinstance(value, torch.Tensor) or len(value) != len(batch):
                got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
                raise ValueError(f"got {got} for {name!r} from the function, expected a tensor of {len(batch)} rows")
        return outputs

    return run
