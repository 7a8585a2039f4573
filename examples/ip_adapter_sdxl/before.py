"""IP-Adapter's tutorial_train_sdxl.py: its data and its training step, at a reduced size.

The image projection alone is trained, and there is one text encoder. Run it with
`python -m examples.ip_adapter_sdxl.before [FOLDER]`.
"""

import random

import torch
import torch.nn.functional as F  # noqa: N812
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import DDPMScheduler
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from transformers import CLIPImageProcessorPil

from examples import tiny


class MyDataset(Dataset):
    def __init__(self, folder):
        self.files = tiny.files(folder)
        self.transform = transforms.Compose(
            [
                transforms.Resize(1024, interpolation=transforms.InterpolationMode.BILINEAR),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )
        self.clip_image_processor = CLIPImageProcessorPil()

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        raw_image = Image.open(self.files[index])
        image = self.transform(raw_image.convert("RGB"))
        top, left = (image.shape[1] - 1024) // 2, (image.shape[2] - 1024) // 2
        clip_image = self.clip_image_processor(images=raw_image, return_tensors="pt").pixel_values
        return {
            "image": transforms.functional.crop(image, top, left, 1024, 1024),
            "clip_image": clip_image,
            "text_input_ids": tiny.tokens(f"a picture of {self.files[index].stem}"),
            "drop_image_embed": random.random() < 0.4,
            "original_size": torch.tensor([raw_image.height, raw_image.width]),
            "crop_coords_top_left": torch.tensor([top, left]),
            "target_size": torch.tensor([1024, 1024]),
        }


def collate_fn(samples):
    return {
        "images": torch.stack([sample["image"] for sample in samples]),
        "clip_images": torch.cat([sample["clip_image"] for sample in samples]),
        "text_input_ids": torch.cat([sample["text_input_ids"] for sample in samples]),
        "drop_image_embeds": [sample["drop_image_embed"] for sample in samples],
        "original_size": torch.stack([sample["original_size"] for sample in samples]),
        "crop_coords_top_left": torch.stack([sample["crop_coords_top_left"] for sample in samples]),
        "target_size": torch.stack([sample["target_size"] for sample in samples]),
    }


def batches(folder):
    accelerator = Accelerator()
    loader = DataLoader(MyDataset(folder), tiny.BATCH, shuffle=True, num_workers=2, collate_fn=collate_fn)
    return accelerator.prepare(loader)


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
        kept = zip(image_embeds, batch["drop_image_embeds"], strict=True)
        image_embeds = torch.stack([torch.zeros_like(one) if is_dropped else one for one, is_dropped in kept])
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
