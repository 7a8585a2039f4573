"""Peers for batches that have the models' size already: uint8 in, one normalised tensor per target out."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Sequence

import torch

from benchmarks.gpu_timing import Timing
from benchmarks.peers import CannotRun, Function, NormalizeJob, Peer
from benchmarks.peers.dali import normalize_on_cpu, normalize_on_gpu
from fastnorm import CLIP, VAE, Normalization

AUTO_DYNAMIC = "torch.compile (auto-dynamic)"
STATIC = "torch.compile (dynamic=False)"
MAX_AUTOTUNE = "torch.compile (max-autotune)"


def eager_branches(
    device: torch.device,
    targets: Sequence[Normalization] = (VAE, CLIP),
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float32),
    channels_first: bool = False,
) -> Callable[[torch.Tensor], list[torch.Tensor]]:
    """The formula as people write it: one chain a branch; also what torch.compile is given."""
    constants = [
        [torch.tensor(values, device=device).view(3, 1, 1) for values in (target.mean, target.std)]
        for target in targets
    ]

    def branches(batch):
        planes = batch if channels_first else batch.permute(0, 3, 1, 2)
        return [
            ((planes.float() / 255 - mean) / std).to(dtype)
            for (mean, std), dtype in zip(constants, dtypes, strict=True)
        ]

    return branches


def _eager(job: NormalizeJob) -> Function:
    return eager_branches(job.device, job.targets, job.dtypes, job.layout != "NHWC")


def _compiled(**options) -> Callable[[NormalizeJob], Function]:
    return lambda job: torch.compile(_own_code(_eager(job)), **options)


def _compiled_after_another_size(job: NormalizeJob) -> Function:
    """As users of more than one resolution have it: the second size that the function sees makes sizes dynamic."""
    compiled = _compiled()(job)
    planes = job.example if job.layout != "NHWC" else job.example.permute(0, 3, 1, 2)
    n, _, height, width = planes.shape
    memory = job.example.new_zeros(n, height // 2 + 3, width // 2 + 5, 3)
    other = {"NHWC": memory, "NCHW": memory.permute(0, 3, 1, 2).contiguous(), "NCHW view": memory.permute(0, 3, 1, 2)}
    compiled(other[job.layout])
    return compiled


def _compiled_per_size(job: NormalizeJob) -> Function:
    """One compilation per size, for up to 64 of them: past its default limit of 8, dynamo would run eagerly."""
    torch._dynamo.config.recompile_limit = 64
    return _compiled(dynamic=False)(job)


_copies = itertools.count()


def _own_code(function: Function) -> Function:
    """A copy that dynamo knows nothing of: it keeps what it has compiled, and which sizes varied, per code object."""
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_copies)}")
    return types.FunctionType(code, function.__globals__, code.co_name, function.__defaults__, function.__closure__)


def _torchvision_v2(job: NormalizeJob) -> Function:
    from torchvision.transforms import v2

    def chain(target: Normalization, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
        steps = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(target.mean), list(target.std))]
        return v2.Compose(steps if dtype is torch.float32 else [*steps, v2.ToDtype(dtype)])

    branches = [chain(target, dtype) for target, dtype in zip(job.targets, job.dtypes, strict=True)]

    def call(batch):
        planes = _planes(job, batch)
        return [branch(planes) for branch in branches]

    return call


def _torchvision_v1(job: NormalizeJob) -> Function:
    from torchvision import transforms

    _require_images(job)
    branches = [transforms.Compose([transforms.ToTensor(), transforms.Normalize(t.mean, t.std)]) for t in job.targets]

    def call(batch):
        images = list(batch.numpy())
        return _cast(job, [torch.stack([branch(image) for image in images]) for branch in branches])

    return call


def _transformers(class_name: str) -> Callable[[NormalizeJob], Function]:
    def make(job: NormalizeJob) -> Function:
        if class_name == "CLIPImageProcessorPil":
            _require_images(job)
            from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil as Processor
        else:
            from transformers import CLIPImageProcessor as Processor
        # The images have their size; constants per target, CLIP's own by default.
        processors = [
            Processor(do_resize=False, do_center_crop=False, image_mean=list(t.mean), image_std=list(t.std))
            for t in job.targets
        ]

        def call(batch):
            images = list(batch.numpy()) if class_name == "CLIPImageProcessorPil" else list(_planes(job, batch))
            return _cast(job, [p(images=images, return_tensors="pt")["pixel_values"] for p in processors])

        return call

    return make


def _timm(job: NormalizeJob) -> Function:
    """timm's PrefetchLoader, which normalises with constants of 0..255, over a loader of this one batch."""
    from timm.data.loader import PrefetchLoader

    loaders = [PrefetchLoader([], mean=t.mean, std=t.std, device=job.device) for t in job.targets]
    labels = torch.zeros(1, device=job.device)

    def call(batch):
        outputs = []
        for loader in loaders:
            loader.loader = [(_planes(job, batch), labels)]
            outputs += [pixels for pixels, _ in loader]
        return _cast(job, outputs)

    return call


def _kornia(job: NormalizeJob) -> Function:
    from kornia.enhance import Normalize

    branches = [Normalize(mean=torch.tensor(t.mean), std=torch.tensor(t.std)).to(job.device) for t in job.targets]

    def call(batch):
        return _cast(job, [branch(_planes(job, batch).float() / 255) for branch in branches])

    return call


def _opencv(job: NormalizeJob) -> Function:
    """One blob per target: (pixel - 255 mean) * 1 / (255 std), without swapping the channels."""
    import cv2

    _require_images(job)
    parameters = []
    for target in job.targets:
        blob = cv2.dnn.Image2BlobParams()
        blob.scalefactor = tuple(1 / (255 * s) for s in target.std)
        blob.mean = tuple(255 * m for m in target.mean)
        parameters.append(blob)

    def call(batch):
        images = list(batch.numpy())
        blobs = [cv2.dnn.blobFromImagesWithParams(images, blob) for blob in parameters]
        return _cast(job, [torch.from_numpy(blob) for blob in blobs])

    return call


def _cvcuda(job: NormalizeJob) -> Function:
    """convertto, normalize, reformat, once per target, on the current stream, as NVIDIA's samples have it."""
    if job.device.type != "cuda":
        raise CannotRun("needs a GPU")
    import cvcuda
    import numpy as np

    if job.layout != "NHWC":
        raise CannotRun("normalises NHWC only")

    def constant(values: Sequence[float]) -> object:
        return cvcuda.as_tensor(torch.tensor(values, device=job.device).view(1, 1, 1, 3), "NHWC")

    constants = [(constant(target.mean), constant(target.std)) for target in job.targets]

    def call(batch):
        with cvcuda.as_stream(torch.cuda.current_stream()):
            pixels = cvcuda.convertto(cvcuda.as_tensor(batch, "NHWC"), np.float32, scale=1 / 255)
            outputs = [
                cvcuda.reformat(
                    cvcuda.normalize(pixels, base=mean, scale=std, flags=cvcuda.NormalizeFlags.SCALE_IS_STDDEV), "NCHW"
                )
                for mean, std in constants
            ]
            return _cast(job, [torch.as_tensor(output.cuda(), device=job.device) for output in outputs])

    return call


def _planes(job: NormalizeJob, batch: torch.Tensor) -> torch.Tensor:
    return batch.permute(0, 3, 1, 2) if job.layout == "NHWC" else batch


def _cast(job: NormalizeJob, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What users of a package without the dtype do behind it."""
    return [output.to(dtype) for output, dtype in zip(outputs, job.dtypes, strict=True)]


def _require_images(job: NormalizeJob) -> None:
    if job.device.type != "cpu":
        raise CannotRun("works on the CPU only")
    if job.layout != "NHWC":
        raise CannotRun("takes height x width x channels only")


EAGER = Peer("eager torch", ("torch",), _eager, timing=Timing.GRAPH)
TORCHVISION_V2 = Peer("torchvision v2", ("torchvision",), _torchvision_v2)
COMPILED_AUTO = Peer(AUTO_DYNAMIC, ("torch",), _compiled_after_another_size, timing=Timing.GRAPH)
COMPILED_STATIC = Peer(STATIC, ("torch",), _compiled(dynamic=False), timing=Timing.GRAPH)
COMPILED_PER_SIZE = Peer(STATIC, ("torch",), _compiled_per_size, timing=Timing.GRAPH)
COMPILED_MAX = Peer(MAX_AUTOTUNE, ("torch",), _compiled(mode="max-autotune"))  # runs CUDA graphs of its own
DALI_CPU = Peer("DALI CPU", ("nvidia-dali-cuda120", "nvidia-dali-cuda130"), normalize_on_cpu)
DALI_GPU = Peer("DALI GPU", ("nvidia-dali-cuda120", "nvidia-dali-cuda130"), normalize_on_gpu, timing=Timing.WALL)

COMPILED = (COMPILED_AUTO, COMPILED_STATIC, COMPILED_MAX)
PACKAGES = (
    EAGER,
    TORCHVISION_V2,
    Peer("torchvision v1", ("torchvision",), _torchvision_v1),
    Peer("transformers CLIP (Pillow backend)", ("transformers",), _transformers("CLIPImageProcessorPil")),
    Peer("transformers CLIP (torchvision backend)", ("transformers",), _transformers("CLIPImageProcessor")),
    Peer("timm PrefetchLoader", ("timm",), _timm),
    Peer("kornia", ("kornia",), _kornia),
    Peer("OpenCV blobFromImagesWithParams", ("opencv-python-headless", "opencv-python"), _opencv),
    DALI_CPU,
    DALI_GPU,
    Peer("CV-CUDA", ("cvcuda-cu13", "cvcuda-cu12"), _cvcuda),
)
ALL = (*PACKAGES, *COMPILED)

# Why a row of torch.compile is what it is.
NOTES = {
    AUTO_DYNAMIC: "has compiled for another resolution before",
    STATIC: "compiled for this one shape",
    MAX_AUTOTUNE: "compiled for this one shape",
}
