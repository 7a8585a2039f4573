"""`before.py` with fastnorm: its crop at half the margin rounded down is `VAE_1024_IP_ADAPTER`.

Run it with `python -m examples.ip_adapter_sdxl.after [FOLDER]`.
"""

import random

import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import DDPMScheduler
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import fastnorm
from examples import tiny


class MyDataset(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        raw_image = Image.open(self.files[index])
        height, width = fastnorm.VAE_1024_IP_ADAPTER.resized_size((raw_image.height, raw_image.width))
        return {
            "image": raw_image,
            "text_input_ids": tiny.tokens(f"a picture of {self.files[index].stem}"),
            "drop_image_embed": random.random() < 0.4,
            "original_size": torch.tensor([raw_image.height, raw_image.width]),
            "crop_coords_top_left": torch.tensor([(height - 1024) // 2, (width - 1024) // 2]),
            "target_size": torch.tensor([1024, 1024]),
        }


def collate_fn(samples):
    return {
        "text_input_ids": torch.cat([sample["text_input_ids"] for sample in samples]),
        "drop_image_embeds": torch.tensor([sample["drop_image_embed"] for sample in samples]),
        "original_size": torch.stack([sample["original_size"] for sample in samples]),
        "crop_coords_top_left": torch.stack([sample["crop_coords_top_left"] for sample in samples]),
        "target_size": torch.stack([sample["target_size"] for sample in samples]),
    }


def batches(folder):
    accelerator = Accelerator()
    collate = fastnorm.collate_images("image", rest=collate_fn)
    preprocess = fastnorm.Preprocess("image", images=fastnorm.VAE_1024_IP_ADAPTER, clip_images=fastnorm.CLIP_224)
    loader = DataLoader(MyDataset(folder), tiny.BATCH, shuffle=True, num_workers=2, collate_fn=collate)
    return fastnorm.Prefetcher(accelerator.prepare(loader), preprocess, accelerator.device)


def main(folder, steps):
    accelerator = Accelerator()
    vae, unet, projection = tiny.vae(), tiny.sdxl_unet(), tiny.image_projection()
    text_encoder, image_encoder, scheduler = tiny.text_encoder(), tiny.image_encoder(), DDPMScheduler()
    for frozen in (vae, unet, text_encoder, image_encoder):
        frozen.requires_grad_(False).to(accelerator.device)
    projection, optimizer = accelerator.prepare(projection, torch.optim.AdamW(projection.parameters(), lr=1e-2))
    set_seed(0)
    losses, fed = [], []
    for _, batch in zip(range(steps), batches(folder), strict=False):
        with torch.no_grad():
            latents = vae.encode(batch["images"]).latent_dist.sample() * vae.config.scaling_factor
            image_embeds = image_encoder(batch["clip_images"]).image_embeds
            text = text_encoder(batch["text_input_ids"])
        image_embeds = image_embeds.masked_fill(batch["drop_image_embeds"][:, None], 0)
        sizes = torch.cat([batch["original_size"], batch["crop_coords_top_left"], batch["target_size"]], dim=1)
        added = {"text_embeds": text.text_embeds, "time_ids": sizes}
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, latents.shape[:1], device=latents.device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        tokens = torch.cat([text.last_hidden_state, projection(image_embeds)], dim=1)
        predicted = unet(noisy, timesteps, tokens, added_cond_kwargs=added).sample
        loss = F.mse_loss(predicted.float(), noise.float())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        fed.append((batch["images"], batch["clip_images"], sizes))
    return losses, fed


if __name__ == "__main__":
    tiny.run(main)
