"""Ray Data: images read as arrays, torchvision's transform in `map_batches`.

Run it with `python -m examples.ray_data.before [FOLDER]`.
"""

import numpy as np
import ray
import torch
from PIL import Image
from torchvision import transforms

from examples import tiny


class Transform:
    def __init__(self):
        self.transform = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __call__(self, batch):
        images = [self.transform(Image.fromarray(image)) for image in batch["image"]]
        return {"pixel_values": np.stack([image.numpy() for image in images]), "path": batch["path"]}


def batches(folder):
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    rows = ray.data.read_images([str(path) for path in tiny.files(folder)], mode="RGB", include_paths=True)
    rows = rows.map_batches(Transform(), batch_size=tiny.BATCH).sort("path")
    for batch in rows.iter_batches(batch_size=tiny.BATCH):
        yield torch.tensor(batch["pixel_values"]), torch.arange(len(batch["path"]))


def main(folder, steps):
    return tiny.train(tiny.classifier(), batches(folder), steps)


if __name__ == "__main__":
    tiny.run(main)
