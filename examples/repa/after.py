"""`before.py` with fastnorm: one read of the uint8 batch for both models.

Run it with `python -m examples.repa.after [FOLDER]`.
"""

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fastnorm
from examples import tiny


class CustomDataset(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image = Image.open(self.files[index]).convert("RGB").resize((256, 256))  # their files are 256 x 256 already
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def preprocess(raw_image):
    processed, x = fastnorm.fused_normalize(raw_image, [fastnorm.VAE, fastnorm.DINOV2])
    # They resize floats, after normalising and without antialiasing. A Target of 224 resizes uint8 pixels with
    # antialiasing: another input, by tens of pixel values.
    x = torch.nn.functional.interpolate(x, 224, mode="bicubic")
    return processed, x


def batches(folder):
    for raw_image in DataLoader(CustomDataset(folder), tiny.BATCH, shuffle=True, num_workers=2):
        yield preprocess(raw_image)


def main(folder, steps):
    vae, encoder = tiny.vae(), tiny.image_encoder().requires_grad_(False)
    torch.manual_seed(0)
    model, projector = torch.nn.Conv2d(4, 4, 3, padding=1), torch.nn.Linear(4, 32)
    trained = [*vae.encoder.parameters(), *model.parameters(), *projector.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    losses, fed = [], []
    for _, (processed, x) in zip(range(steps), batches(folder), strict=False):
        z = encoder(x).last_hidden_state[:, 1:]  # (batch, 49, 32)
        latents = vae.encode(processed).latent_dist.sample()
        noise, time = torch.randn_like(latents), torch.rand(len(latents), 1, 1, 1)
        velocity = model((1 - time) * latents + time * noise)
        tokens = projector(F.adaptive_avg_pool2d(velocity, 7).flatten(2).mT)
        alignment = -F.cosine_similarity(tokens, z, dim=-1).mean()
        loss = F.mse_loss(velocity, noise - latents) + 0.5 * alignment
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        fed.append((processed, x))
    return losses, fed


if __name__ == "__main__":
    tiny.run(main)
