"""NVIDIA DALI: pipelines that are fed from outside and end in crop_mirror_normalize, once per target.

Mean and std are in units of pixel values, as its documentation has them. Its outputs live in buffers of its own, which
the next run overwrites.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.peers import CannotRun, Function, Job
from fastnorm import Normalization

DISTRIBUTIONS = ("nvidia-dali-cuda120", "nvidia-dali-cuda130")


def normalize(job: Job) -> Function:
    from nvidia.dali import types

    names = {torch.float32: types.FLOAT, torch.float16: types.FLOAT16}
    if any(dtype not in names for dtype in job.dtypes):
        raise CannotRun("has no bfloat16 output")
    layout = "HWC" if job.layout == "NHWC" else "CHW"
    if layout == "CHW" and not job.example.is_contiguous():
        raise CannotRun("takes dense images only")
    pairs = list(zip(job.targets, job.dtypes, strict=True))
    return _function(
        job, layout, lambda pixels: [_normalized(pixels, target, dtype=names[dtype]) for target, dtype in pairs]
    )


def preprocess(job: Job) -> Function:
    from nvidia.dali import fn, types

    filters = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}

    def steps(pixels: Any) -> Iterable[Any]:
        for target in job.targets:
            options = {"interp_type": filters[target.resample], "antialias": True, "dtype": types.UINT8}
            small = fn.resize(pixels, resize_shorter=target.size, **options)
            crop = (target.crop_size.height, target.crop_size.width)
            yield _normalized(small, target.normalization, crop=crop)

    return _function(job, "HWC", steps)


def _normalized(pixels: Any, target: Normalization, **options) -> Any:
    from nvidia.dali import fn

    mean, std = ([255 * value for value in values] for values in (target.mean, target.std))
    return fn.crop_mirror_normalize(pixels, mean=mean, std=std, output_layout="CHW", **options)


def _function(job: Job, layout: str, steps: Callable[[Any], Iterable[Any]]) -> Function:
    """Runs the pipeline of these steps once on the given images, on as many threads as torch has."""
    from nvidia.dali import fn, pipeline_def

    on_gpu, current = job.device.type == "cuda", []

    @pipeline_def(
        batch_size=len(job.example), num_threads=torch.get_num_threads(), prefetch_queue_depth=1, exec_async=False,
        exec_pipelined=False, device_id=(job.device.index or 0) if on_gpu else None,
    )  # fmt: skip
    def pipeline():
        options = {"batch": True, "no_copy": True, "layout": layout, "device": "gpu" if on_gpu else "cpu"}
        return tuple(steps(fn.external_source(lambda: current[0], **options)))

    built = pipeline()
    built.build()

    def run(images: Any) -> Sequence[Any]:
        if on_gpu:
            torch.cuda.current_stream().synchronize()  # DALI reads the pixels on a stream of its own
        elif isinstance(images, torch.Tensor):
            images = list(images.numpy())
        else:
            images = [np.asarray(image) for image in images]
        current[:] = [images]
        return built.run()

    return run
