"""NVIDIA DALI: pipelines that are fed from outside and end in crop_mirror_normalize, once per target.

Mean and std are in units of pixel values, as its documentation has them. Its outputs live in buffers of its own, which
the next run overwrites.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.peers import CannotRun, Function, Job
from fastnorm import Target

DISTRIBUTIONS = ("nvidia-dali-cuda120", "nvidia-dali-cuda130")


def make(job: Job) -> Function:
    """Runs a pipeline of the job's steps once on the given images, on as many threads as torch has."""
    from nvidia.dali import fn, pipeline_def, types

    names = {torch.float32: types.FLOAT, torch.float16: types.FLOAT16}
    filters = {"bilinear": types.INTERP_LINEAR, "bicubic": types.INTERP_CUBIC}
    if any(dtype not in names for dtype in job.dtypes):
        raise CannotRun("has no bfloat16 output")
    if job.layout != "NHWC" and not job.example.is_contiguous():
        raise CannotRun("takes dense images only")
    on_gpu, current = job.device.type == "cuda", []

    def steps(pixels: Any) -> Iterator[Any]:
        for target, dtype in zip(job.targets, job.dtypes, strict=True):
            small, crop, normalization = pixels, {}, target
            if isinstance(target, Target):
                options = {"interp_type": filters[target.resample], "antialias": True, "dtype": types.UINT8}
                small = fn.resize(pixels, resize_shorter=target.size, **options)
                crop = {"crop": (target.crop_size.height, target.crop_size.width)}
                normalization = target.normalization
            constants = {name: [255 * v for v in getattr(normalization, name)] for name in ("mean", "std")}
            yield fn.crop_mirror_normalize(small, **constants, **crop, output_layout="CHW", dtype=names[dtype])

    @pipeline_def(
        batch_size=len(job.example), num_threads=torch.get_num_threads(), prefetch_queue_depth=1, exec_async=False,
        exec_pipelined=False, device_id=(job.device.index or 0) if on_gpu else None,
    )  # fmt: skip
    def pipeline():
        layout, device = "HWC" if job.layout == "NHWC" else "CHW", "gpu" if on_gpu else "cpu"
        source = fn.external_source(lambda: current[0], batch=True, no_copy=True, layout=layout, device=device)
        return tuple(steps(source))

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
