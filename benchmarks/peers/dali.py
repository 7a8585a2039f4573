"""NVIDIA DALI: pipelines that are fed from outside and end in crop_mirror_normalize, once per target.

Mean and std are in units of pixel codes, as its documentation has them. Its outputs live in buffers of its own, which
the next run overwrites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.peers import CannotRun, Function, NormalizeJob, PreprocessJob
from fastnorm import Normalization, Target


def normalize_on_cpu(job: NormalizeJob) -> Function:
    return _normalize(job, None)


def normalize_on_gpu(job: NormalizeJob) -> Function:
    if job.device.type != "cuda":
        raise CannotRun("needs a GPU" if not torch.cuda.is_available() else "measured beside GPU peers")
    return _normalize(job, job.device.index or 0)


def preprocess_on_cpu(job: PreprocessJob) -> Function:
    return _preprocess(job, None)


def preprocess_on_gpu(job: PreprocessJob) -> Function:
    if job.device.type != "cuda":
        raise CannotRun("needs a GPU" if not torch.cuda.is_available() else "measured beside GPU peers")
    return _preprocess(job, job.device.index or 0)


def _normalize(job: NormalizeJob, device_id: int | None) -> Function:
    from nvidia.dali import fn, types

    if device_id is None and job.device.type != "cpu":
        raise CannotRun("works on the CPU only")
    names = {torch.float32: types.FLOAT, torch.float16: types.FLOAT16}
    if any(dtype not in names for dtype in job.dtypes):
        raise CannotRun("has no bfloat16 output")
    layout = "HWC" if job.layout == "NHWC" else "CHW"

    def steps(pixels: Any) -> tuple[Any, ...]:
        return tuple(
            fn.crop_mirror_normalize(pixels, dtype=names[dtype], output_layout="CHW", **_constants(target))
            for target, dtype in zip(job.targets, job.dtypes, strict=True)
        )

    run = _pipeline(steps, len(job.example), layout, device_id)
    if layout == "CHW" and not job.example.is_contiguous():
        raise CannotRun("takes dense images only")
    return lambda batch: run(list(batch.numpy()) if device_id is None else batch)


def _preprocess(job: PreprocessJob, device_id: int | None) -> Function:
    import numpy as np
    from nvidia.dali import fn, types

    if device_id is None and job.device.type != "cpu":
        raise CannotRun("works on the CPU only")
    filters = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}

    def steps(pixels: Any) -> tuple[Any, ...]:
        return tuple(_branch(pixels, target) for target in job.targets)

    def _branch(pixels: Any, target: Target) -> Any:
        small = fn.resize(
            pixels, resize_shorter=target.size, interp_type=filters[target.resample], antialias=True, dtype=types.UINT8
        )
        crop = target.crop.size
        return fn.crop_mirror_normalize(
            small, crop=(crop.height, crop.width), output_layout="CHW", **_constants(target.normalization)
        )

    run = _pipeline(steps, len(job.example), "HWC", device_id)
    if device_id is None:
        return lambda pictures: run([np.asarray(picture) for picture in pictures])
    return lambda pictures: run(list(pictures))


def _constants(target: Normalization) -> dict[str, list[float]]:
    return {"mean": [255 * m for m in target.mean], "std": [255 * s for s in target.std]}


def _pipeline(steps: Any, size: int, layout: str, device_id: int | None) -> Any:
    """A function that runs the pipeline once on the given batch, on as many threads as torch has."""
    from nvidia.dali import fn, pipeline_def

    current: list[Sequence[Any]] = []
    on_gpu = device_id is not None

    @pipeline_def(
        batch_size=size,
        num_threads=torch.get_num_threads(),
        device_id=device_id,
        prefetch_queue_depth=1,
        exec_async=False,
        exec_pipelined=False,
    )
    def pipeline():
        pixels = fn.external_source(
            lambda: current[0], batch=True, no_copy=True, layout=layout, device="gpu" if on_gpu else "cpu"
        )
        return steps(pixels)

    built = pipeline()
    built.build()

    def run(batch: Sequence[Any]) -> Sequence[Any]:
        current[:] = [batch]
        if on_gpu:
            torch.cuda.current_stream().synchronize()  # DALI reads the pixels on a stream of its own
        return built.run()

    return run
