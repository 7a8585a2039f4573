"""NVIDIA DALI: pipelines that are fed from outside and end in crop_mirror_normalize, once per target.

Mean and std are in units of pixel values, as its documentation has them. Its outputs live in buffers of its own, which
the next run overwrites.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.peers import CannotRun, Function, NormalizeJob, PreprocessJob, require_cpu, require_gpu
from fastnorm import Normalization

DISTRIBUTIONS = ("nvidia-dali-cuda120", "nvidia-dali-cuda130")


def normalize(job: NormalizeJob, on_gpu: bool) -> Function:
    from nvidia.dali import types

    (require_gpu if on_gpu else require_cpu)(job)
    names = {torch.float32: types.FLOAT, torch.float16: types.FLOAT16}
    if any(dtype not in names for dtype in job.dtypes):
        raise CannotRun("has no bfloat16 output")
    layout = "HWC" if job.layout == "NHWC" else "CHW"
    if layout == "CHW" and not job.example.is_contiguous():
        raise CannotRun("takes dense images only")

    def steps(pixels: Any) -> Iterator[Any]:
        for target, dtype in zip(job.targets, job.dtypes, strict=True):
            yield _normalized(pixels, target, dtype=names[dtype])

    run = _pipeline(steps, len(job.example), layout, job.device if on_gpu else None)
    return run if on_gpu else lambda batch: run(list(batch.numpy()))


def preprocess(job: PreprocessJob, on_gpu: bool) -> Function:
    import numpy as np
    from nvidia.dali import fn, types

    (require_gpu if on_gpu else require_cpu)(job)
    filters = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}

    def steps(pixels: Any) -> Iterator[Any]:
        for target in job.targets:
            options = {"interp_type": filters[target.resample], "antialias": True, "dtype": types.UINT8}
            small = fn.resize(pixels, resize_shorter=target.size, **options)
            crop = (target.crop_size.height, target.crop_size.width)
            yield _normalized(small, target.normalization, crop=crop)

    run = _pipeline(steps, len(job.example), "HWC", job.device if on_gpu else None)
    return lambda images: run(list(images) if on_gpu else [np.asarray(image) for image in images])


def _normalized(pixels: Any, target: Normalization, **options) -> Any:
    from nvidia.dali import fn

    mean, std = ([255 * value for value in values] for values in (target.mean, target.std))
    return fn.crop_mirror_normalize(pixels, mean=mean, std=std, output_layout="CHW", **options)


def _pipeline(steps: Any, size: int, layout: str, gpu: torch.device | None) -> Any:
    """A function that runs the pipeline once on the given batch, on as many threads as torch has."""
    from nvidia.dali import fn, pipeline_def

    current: list[Sequence[Any]] = []

    @pipeline_def(
        batch_size=size, num_threads=torch.get_num_threads(), device_id=gpu and (gpu.index or 0),
        prefetch_queue_depth=1, exec_async=False, exec_pipelined=False,
    )  # fmt: skip
    def pipeline():
        options = {"batch": True, "no_copy": True, "layout": layout, "device": "gpu" if gpu else "cpu"}
        return tuple(steps(fn.external_source(lambda: current[0], **options)))

    built = pipeline()
    built.build()

    def run(batch: Sequence[Any]) -> Sequence[Any]:
        current[:] = [batch]
        if gpu:
            torch.cuda.current_stream().synchronize()  # DALI reads the pixels on a stream of its own
        return built.run()

    return run
