"""The targets that published pipelines prepare, each with the pipeline whose bits it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fastnorm.spec.normalization import CLIP, DINOV2, DINOV3_SAT, IMAGENET, SIGLIP, VAE
from fastnorm.spec.sizes import Sides
from fastnorm.spec.steps import Crop, Halve
from fastnorm.spec.target import Target

VAE_512 = Target(VAE, size=512, resample="bilinear", crop=Crop())
VAE_1024 = Target(VAE, size=1024, resample="bilinear", crop=Crop())
VAE_512_LANCZOS = Target(VAE, size=512, resample="lanczos", crop=Crop())
VAE_1024_LANCZOS = Target(VAE, size=1024, resample="lanczos", crop=Crop())
VAE_1024_IP_ADAPTER = Target(VAE, size=1024, resample="bilinear", crop=Crop(position="transformers"))
VAE_256_ADM = Target(
    VAE,
    size=Sides(shortest=256, rule="transformers", rounding="round"),
    resample="bicubic",
    crop=Crop(256, "transformers"),
    before=Halve(256),
)
VAE_IMAGE_PROCESSOR = Target(VAE, size=Sides(multiple_of=8, multiple_rounding="floor"), resample="lanczos")
CLIP_224 = Target(CLIP, size=224, resample="bicubic", crop=Crop(position="transformers"))
CLIP_336 = Target(CLIP, size=336, resample="bicubic", crop=Crop(position="transformers"))
SIGLIP_224 = Target(SIGLIP, size=(224, 224), resample="bicubic")
SIGLIP_384 = Target(SIGLIP, size=(384, 384), resample="bicubic")
SIGLIP2_224 = Target(SIGLIP, size=(224, 224), resample="bilinear")
IMAGENET_224 = Target(IMAGENET, size=256, resample="bilinear", crop=224)
DINOV2_224 = Target(DINOV2, size=256, resample="bicubic", crop=224)
DINOV2_224_HF = Target(DINOV2, size=256, resample="bicubic", crop=Crop(224, "transformers"))
DINOV3_256 = Target(replace(IMAGENET, order="to_dtype"), size=(256, 256), resample="bilinear", arithmetic="torch")
DINOV3_SAT_256 = replace(DINOV3_256, normalization=replace(DINOV3_SAT, order="to_dtype"))


def _by_torch(target: Target) -> Target:
    """The same configuration with transformers' torchvision backend."""
    return replace(target, normalization=replace(target.normalization, order="fused"), arithmetic="torch")


CLIP_224_TORCH = _by_torch(CLIP_224)
SIGLIP_224_TORCH = _by_torch(SIGLIP_224)
SIGLIP2_224_TORCH = _by_torch(SIGLIP2_224)
DINOV2_224_TORCH = _by_torch(DINOV2_224_HF)

TARGET_PRESETS: Mapping[str, Target] = {
    "VAE_512": VAE_512,
    "VAE_1024": VAE_1024,
    "VAE_512_LANCZOS": VAE_512_LANCZOS,
    "VAE_1024_LANCZOS": VAE_1024_LANCZOS,
    "VAE_1024_IP_ADAPTER": VAE_1024_IP_ADAPTER,
    "VAE_256_ADM": VAE_256_ADM,
    "VAE_IMAGE_PROCESSOR": VAE_IMAGE_PROCESSOR,
    "CLIP_224": CLIP_224,
    "CLIP_336": CLIP_336,
    "CLIP_224_TORCH": CLIP_224_TORCH,
    "SIGLIP_224": SIGLIP_224,
    "SIGLIP_384": SIGLIP_384,
    "SIGLIP_224_TORCH": SIGLIP_224_TORCH,
    "SIGLIP2_224": SIGLIP2_224,
    "SIGLIP2_224_TORCH": SIGLIP2_224_TORCH,
    "IMAGENET_224": IMAGENET_224,
    "DINOV2_224": DINOV2_224,
    "DINOV2_224_HF": DINOV2_224_HF,
    "DINOV2_224_TORCH": DINOV2_224_TORCH,
    "DINOV3_256": DINOV3_256,
    "DINOV3_SAT_256": DINOV3_SAT_256,
}

# Whose bits each preset gives; `fastnorm explain` prints it.
TARGET_SOURCES: Mapping[str, str] = {
    "VAE_512": "torchvision on a PIL image: Resize(512) (bilinear), CenterCrop(512), ToTensor, Normalize([0.5], "
    "[0.5]), as IP-Adapter's tutorial_train.py prepares Stable Diffusion 1.5's input",
    "VAE_1024": "the same at 1024, as diffusers' SDXL training scripts computed before lanczos became their default",
    "VAE_512_LANCZOS": "torchvision on a PIL image: Resize(512, LANCZOS), CenterCrop(512), ToTensor, Normalize([0.5], "
    "[0.5]), the defaults of diffusers' train_text_to_image.py with --center_crop",
    "VAE_1024_LANCZOS": "the same at 1024: the defaults of diffusers' train_text_to_image_sdxl.py with --center_crop",
    "VAE_1024_IP_ADAPTER": "IP-Adapter's tutorial_train_sdxl.py: torchvision's Resize(1024) (bilinear) of a PIL image, "
    "ToTensor, Normalize([0.5], [0.5]), and a crop at half the margin rounded down (delta // 2), where CenterCrop "
    "rounds half to even",
    "VAE_256_ADM": "center_crop_arr of the ADM code base, which DiT, REPA and LightningDiT have taken over: halved by "
    "box filters while twice as large or more, then bicubic with both sides rounded, then the centre 256 x 256; and "
    "pixels in [-1, 1]",
    "VAE_IMAGE_PROCESSOR": "diffusers' VaeImageProcessor on a PIL image, with its default settings and no height and "
    "width: both sides cut down to a multiple of 8, lanczos, pixels in [-1, 1]; with height and width, size=(height, "
    "width)",
    "CLIP_224": "transformers' Pillow backend, CLIPImageProcessorPil, with openai/clip-vit-large-patch14's "
    "configuration: shortest_edge 224, bicubic, crop 224; CLIPImageProcessor itself resizes with torch: other pixels",
    "CLIP_336": "the same with openai/clip-vit-large-patch14-336's configuration: shortest_edge 336, crop 336",
    "CLIP_224_TORCH": "transformers' torchvision backend on a CPU, CLIPImageProcessor, which is what transformers 5 "
    "takes by default, with the configuration of CLIP_224",
    "SIGLIP_224": "transformers' Pillow backend, SiglipImageProcessorPil, with google/siglip-base-patch16-224's "
    "configuration: 224 x 224 whatever the proportions, bicubic",
    "SIGLIP_384": "the same at 384 x 384: google/siglip-so400m-patch14-384",
    "SIGLIP_224_TORCH": "transformers' torchvision backend on a CPU, SiglipImageProcessor, with the configuration of "
    "SIGLIP_224",
    "SIGLIP2_224": "transformers' Pillow backend, SiglipImageProcessorPil, with 224 x 224 and bilinear, as its "
    "conversion script for SigLIP 2 has it for google/siglip2-base-patch16-224",
    "SIGLIP2_224_TORCH": "transformers' torchvision backend on a CPU, SiglipImageProcessor, with the configuration of "
    "SIGLIP2_224",
    "IMAGENET_224": "torchvision's weights.transforms() on a PIL image, with the defaults of its classification models "
    "(ResNet50_Weights.IMAGENET1K_V1): Resize(256) (bilinear), CenterCrop(224), the ImageNet statistics",
    "DINOV2_224": "torchvision on a PIL image, as DINOv2's make_classification_eval_transform: Resize(256, BICUBIC), "
    "CenterCrop(224), ToTensor, Normalize with the ImageNet statistics",
    "DINOV2_224_HF": "transformers' Pillow backend, BitImageProcessorPil, with facebook/dinov2-base's configuration: "
    "shortest_edge 256, bicubic, crop 224, which lies up to a pixel beside torchvision's",
    "DINOV2_224_TORCH": "transformers' torchvision backend on a CPU, BitImageProcessor, with the configuration of "
    "DINOV2_224_HF",
    "DINOV3_256": "make_transform of DINOv3's README, which is torchvision on a tensor on a CPU: v2.ToImage, "
    "Resize((256, 256)) (bilinear), ToDtype(float32, scale=True), Normalize with the ImageNet statistics; "
    "transformers' processor of DINOv3 resizes floats: other values",
    "DINOV3_SAT_256": "the same with the statistics of DINOv3's models of satellite images (SAT-493M)",
}
