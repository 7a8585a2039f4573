"""`before.py` with fastnorm: encoded files go to `map_batches`.

Run it with `python -m examples.ray_data.after [FOLDER]`.
"""

import ray
import torch

import fastnorm
from examples import tiny


def batches(folder):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    rows = ray.data.read_binary_files([str(path) for path in tiny.files(folder)], include_paths=True)
    preprocess = fastnorm.Preprocess("bytes", pixel_values=fastnorm.IMAGENET_224)
    rows = rows.map_batches(preprocess, batch_size=tiny.BATCH).sort("path")
    for batch in rows.iter_batches(batch_size=tiny.BATCH):
        yield torch.tensor(batch["pixel_values"]), torch.arange(len(batch["path"]))


def main(folder, steps):
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
