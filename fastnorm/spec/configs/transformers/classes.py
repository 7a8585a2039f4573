"""The allowlist: classes by name, without the backend's suffix, and how each is read; and why others are not.

What is listed here is what `docs/conformance.md` proves, with the installed transformers, setting by setting.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastnorm.spec.configs.transformers import patches, readers
from fastnorm.spec.configs.transformers.readers import without
from fastnorm.spec.configs.transformers.settings import Reader

_SUFFIX = "ImageProcessor"
_LABELS = ("do_reduce_labels", "ignore_index")
_TILES = ("min_patches", "max_patches", "use_covering_area_grid")
_FLAVA = (
    "return_image_mask", "input_size_patches", "total_mask_patches", "mask_group_min_patches",
    "mask_group_max_patches", "mask_group_min_aspect_ratio", "mask_group_max_aspect_ratio", "return_codebook_pixels",
    "codebook_do_resize", "codebook_size", "codebook_resample", "codebook_do_center_crop", "codebook_crop_size",
    "codebook_do_rescale", "codebook_rescale_factor", "codebook_do_map_pixels", "codebook_do_normalize",
    "codebook_image_mean", "codebook_image_std",
)  # fmt: skip

_READERS: Mapping[str, Reader] = {
    **dict.fromkeys(
        (
            "Bit", "Blip", "Chameleon", "ChineseCLIP", "CLIP", "DeiT", "MobileNetV1", "OwlViT", "PI0",
            "PPChart2Table", "Pvt", "Siglip", "Tipsv2", "Tipsv2Dpt", "ViT",
        ),
        readers.resize_crop_pad,
    ),
    **dict.fromkeys(("Sam2", "Sam3"), without(readers.resize_crop_pad, "mask_size", "mask_pad_size")),
    "Idefics": without(readers.resize_crop_pad, "image_size", "image_num_channels"),
    **dict.fromkeys(("Beit", "MobileNetV2"), without(readers.resize_crop, *_LABELS)),
    "Flava": without(readers.resize_crop, *_FLAVA),
    "LayoutLMv3": without(readers.resize_crop, "apply_ocr", "ocr_lang", "tesseract_config"),
    "Ovis2": without(readers.resize_crop, *_TILES),
    "Sapiens2": without(
        readers.resize_crop, *_LABELS, "keypoint_heatmap_downscale_factor", "keypoint_heatmap_sigma"
    ),
    "VideoLlava": readers.video_llava,
    "VideoMAE": readers.resize_crop,
    "Eomt": without(readers.resize_only, *_LABELS),
    "Gemma3": readers.resize_only,
    "GotOcr2": without(readers.resize_only, *_TILES),
    "SegGpt": without(readers.resize_only, "num_labels"),
    "Segformer": without(readers.resize_only, *_LABELS),
    "ConvNext": readers.convnext,
    "Levit": readers.levit,
    "PoolFormer": readers.poolformer,
    "Perceiver": readers.perceiver,
    "TextNet": readers.textnet,
    "GLPN": readers.glpn,
    **dict.fromkeys(("ConditionalDetr", "DeformableDetr", "Detr", "GroundingDino", "RTDetr"), readers.detr),
    "Yolos": readers.yolos,
    **dict.fromkeys(("Mask2Former", "MaskFormer"), readers.mask2former),
    "OneFormer": readers.oneformer,
    "BridgeTower": readers.bridgetower,
    "Vilt": readers.vilt,
    **dict.fromkeys(("CHMv2", "DPT", "PromptDepthAnything"), readers.dpt),
    "Llava": readers.llava,
    **dict.fromkeys(("DeepseekVL", "Janus"), readers.janus),
    "DeepseekVLHybrid": readers.deepseek_vl_hybrid,
    **dict.fromkeys(("DeepseekOcr2", "UnlimitedOcr"), readers.global_view),
    "Sam": readers.sam,
    "Pixtral": readers.pixtral,
    "Fuyu": readers.fuyu,
    "Aria": readers.aria,
    "Idefics2": readers.idefics2,
    "Swin2SR": readers.swin2sr,
    "Donut": readers.donut,
    "TimmWrapper": readers.timm_wrapper,
    "VitMatte": readers.vitmatte,
    "EfficientNet": readers.efficientnet,
    "MobileViT": readers.mobilevit,
    "Tvp": readers.tvp,
    "PPLCNet": readers.pp_lcnet,
    **dict.fromkeys(("Cohere2Vision", "GraniteDocling"), patches.untiled),
    "PerceptionLM": patches.perception_lm,
    **dict.fromkeys(("Idefics3", "SmolVLM", "UltraVBert"), patches.idefics3),
    **dict.fromkeys(("Nougat", "PPFormulaNet"), patches.nougat),
    "Lfm2Vl": patches.lfm2_vl,
    **dict.fromkeys(("MiniCPMOcr", "MiniCPMV4_6"), patches.minicpm),
    "NeoMME": patches.neomme,
    "Inkling": patches.inkling,
    "Inkling2": patches.inkling2,
    **dict.fromkeys(
        ("CohereCompass", "Ernie4_5_VLMoe", "Ernie4_5_VL_Moe", "MiniMaxM3VL", "Qwen2VL", "VideoLlama3"),
        patches.qwen2_vl,
    ),
    **dict.fromkeys(("HunYuanVL", "HYV4VL"), patches.hunyuan_vl),
    "PaddleOCRVL": patches.paddleocr_vl,
    **dict.fromkeys(("Cosmos3Edge", "Glm46V", "Glm4v", "Glmga"), patches.glm4v),
    "GlmImage": patches.glm_image,
    "MuseGlimmer": patches.muse_glimmer,
    **dict.fromkeys(("Gemma4", "Gemma4Unified"), patches.gemma4),
    "Siglip2": patches.siglip2,
    "Kimi_K25": patches.kimi_k25,
    **dict.fromkeys(("Apertus1p5", "Emu3"), readers.area_padded_to_batch),
}  # fmt: skip

_FLOATS = "it resizes floats, whose values depend on the CPU"
_NO_ANTIALIAS = "it resizes without antialiasing"
_GRAY = "its tensors are gray"
_BGR = "its tensors hold B, G, R"
_OWN_STATISTICS = "it normalises by each image's own mean and standard deviation"
_CANVAS = "its canvas depends on the image's first size, which a crop is not told"

# Classes that were looked at, and what they do that a target does not.
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("DINOv3ViT", "NemotronH_Omni_Reasoning_V3", "PPOCRV5ServerRec"), _FLOATS),
    **dict.fromkeys(("DepthPro", "RfDetr", "Molmo2", "PPDocLayoutV4"), f"{_FLOATS}, without antialiasing"),
    **dict.fromkeys(("PPDocLayoutV2", "PPDocLayoutV3"), _NO_ANTIALIAS),
    "PPOCRV5ServerDet": f"{_FLOATS}, and {_BGR}",
    "PPOCRV6SmallRec": f"{_NO_ANTIALIAS}, and {_BGR}",
    "Owlv2": f"{_FLOATS}, after a Gaussian blur",
    "ZoeDepth": f"{_FLOATS}, with aligned corners",
    "UVDoc": f"{_FLOATS}, with aligned corners, and {_BGR}",
    "SLANeXt": "it resizes as OpenCV does",
    **dict.fromkeys(("LlavaNext", "LlavaOnevision", "Phi4Multimodal", "Step3p7"), patches.TILES),
    "Llama4": f"{patches.TILES}, and it normalises in bfloat16",
    **dict.fromkeys(("Mllama", "Glm5Next"), _CANVAS),
    **dict.fromkeys(("EfficientLoFTR", "LightGlue", "SuperGlue", "SuperPoint"), _GRAY),
    **dict.fromkeys(("Kosmos2_5", "Pix2Struct"), _OWN_STATISTICS),
    "ImageGPT": "it gives the numbers of colours, input_ids",
    "LayoutLMv2": f"its outputs are uint8, and {_BGR}",
    "VitPose": "it warps the image around each person",
    "Vivit": "it subtracts 1 before it normalises",
}  # fmt: skip


def reader_of(kind: str, name: str) -> Reader:
    """How a class is read; `kind` is its name without the backend's suffix."""
    short = kind.removesuffix(_SUFFIX)
    if kind.endswith(_SUFFIX) and short in _READERS:
        return _READERS[short]
    why = _REFUSED.get(short, "it is none of the classes whose outputs are known to be reproduced")
    raise ValueError(
        f"{name}: got {kind}, which is not reproduced: {why}; write what you need of it as a Target(...) and hold it "
        f"to the processor with fastnorm.verify"
    )
