"""`before.py` with fastnorm: workers hand over uint8 pixels, and the batch is preprocessed where the model is.

Run it with `python -m examples.ip_adapter_sd15.after [FOLDER]`.
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
        text = f"a picture of {self.files[index].stem}"
        raw_image = Image.open(self.files[index])
        drop = random.random()
        return {
            "image": raw_image,
            "text_input_ids": tiny.tokens("" if 0.2 <= drop < 0.6 else text),
            "drop_image_embed": drop < 0.4,
        }


def collate_fn(samples):
    return {
        "text_input_ids": torch.cat([sample["text_input_ids"] for sample in samples]),
        "drop_image_embeds": [sample["drop_image_embed"] for sample in samples],
    }


def batches(folder):
    accelerator = Accelerator()
    collate = fastnorm.collate_images("image", rest=collate_fn)
    preprocess = fastnorm.Preprocess("image", images=fastnorm.VAE_512, clip_images=fastnorm.CLIP_224)
    loader = DataLoader(MyDataset(folder), tiny.BATCH, shuffle=True, num_workers=2, collate_fn=collate)
    return fastnorm.Prefetcher(accelerator.prepare(loader), preprocess, accelerator.device)


def main(folder, steps):
    accelerator = Accelerator()
    vae, unet, projection = tiny.vae(), tiny.unet(), tiny.image_projection()
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
            text = text_encoder(batch["text_input_ids"]).last_hidden_state
        kept = zip(image_embeds, batch["drop_image_embeds"], strict=True)
        image_embeds = torch.stack([torch.zeros_like(one) if is_dropped else one for one, is_dropped in kept])
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, latents.shape[:1], device=latents.device)
        noisy = scheduler.add_noise(latents, noise, timesteps)
        predicted = unet(noisy, timesteps, torch.cat([text, projection(image_embeds)], dim=1)).sample
        loss = F.mse_loss(predicted.float(), noise.float())
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        fed.append((batch["images"], batch["clip_images"], batch["text_input_ids"]))
    return losses, fed


if __name__ == "__main__":
    tiny.run(main)
