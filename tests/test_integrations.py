"""Objects that other libraries take for their own: image processors of transformers, a transform of torchvision."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torchvision import transforms, tv_tensors
from torchvision.transforms import v2
from transformers import (
    AutoImageProcessor,
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    DetrImageProcessor,
    IdeficsImageProcessor,
    PreTrainedTokenizerFast,
    RTDetrImageProcessor,
    SiglipImageProcessor,
    ViTConfig,
    ViTImageProcessor,
    ViTImageProcessorPil,
    ViTModel,
)

import fastnorm
import forking
from fastnorm import CLIP_224, Crop, Target
from fastnorm.data.files import shipped_photographs
from fastnorm.integrations import transformers as integration
from fastnorm.integrations.torchvision import ToTarget
from fastnorm.integrations.transformers import image_processor
from helpers import assert_same_bits, random_pixels

pytestmark = pytest.mark.compat


def random_image(height, width, seed=0, mode="RGB"):
    image = Image.fromarray(random_pixels(height, width, 3, seed=seed).numpy())
    if mode == "RGBA":
        image.putalpha(Image.fromarray(random_pixels(height, width, seed=seed + 1).numpy()))
    return image.convert(mode)


IMAGES = [random_image(227, 231), random_image(300, 451, 2), random_image(410, 256, 4)]
SMALL = {"size": {"shortest_edge": 32}, "crop_size": {"height": 30, "width": 30}}
ORIGINALS = {
    "CLIP, Pillow": CLIPImageProcessorPil(),
    "CLIP": CLIPImageProcessor(),
    "ViT, Pillow": ViTImageProcessorPil(),
    "ViT": ViTImageProcessor(),
    "SigLIP": SiglipImageProcessor(),
    "DINOv2, Pillow": BitImageProcessorPil(size={"shortest_edge": 256}),
    "without a crop": CLIPImageProcessorPil(do_center_crop=False),
    "one that always stacks": RTDetrImageProcessor(size={"height": 64, "width": 80}),
}
every_original = pytest.mark.parametrize("name", ORIGINALS)
both_backends = pytest.mark.parametrize("name", ["CLIP, Pillow", "CLIP"])


@pytest.fixture(scope="module")
def ours():
    return {name: image_processor(original) for name, original in ORIGINALS.items()}


@pytest.fixture
def calls(monkeypatch):
    """How many images each call of this library got: what is left to the original's code is none."""
    counts = []
    real = integration.fused_preprocess

    def counted(images, *args, **kwargs):
        counts.append(len(images))
        return real(images, *args, **kwargs)

    monkeypatch.setattr(integration, "fused_preprocess", counted)
    return counts


def assert_same_feature(got, expected):
    assert type(got) is type(expected)
    assert set(got) == set(expected) == {"pixel_values"}
    theirs, own = expected["pixel_values"], got["pixel_values"]
    assert type(own) is type(theirs)
    assert len(own) == len(theirs)
    for one, other in zip(own, theirs, strict=True):
        assert type(one) is type(other)
        assert one.dtype == other.dtype
        assert_same_bits(torch.as_tensor(one), torch.as_tensor(other))


# The same calls, the same results


@every_original
@pytest.mark.parametrize("return_tensors", ["pt", "np", None])
def test_a_list(name, return_tensors, ours, calls):
    same_size = name != "without a crop" or return_tensors is None
    images = IMAGES if same_size else IMAGES[:1] * 2  # what does not come out in one size cannot be stacked
    got = ours[name](images, return_tensors=return_tensors)
    assert calls == [len(images)]
    assert_same_feature(got, ORIGINALS[name](images, return_tensors=return_tensors))


FORMS = {
    "one image": IMAGES[0],
    "nested": [IMAGES[:2], IMAGES[2:]],
    "an array": np.array(IMAGES[0]),
    "a channels-first array": np.moveaxis(np.array(IMAGES[0]), -1, 0),
    "a view of an array": np.array(IMAGES[1])[7:250, 3:400],
    "a tensor": torch.from_numpy(np.array(IMAGES[0])).permute(2, 0, 1),
    "a channels-last tensor": torch.from_numpy(np.array(IMAGES[0])),
    "a batch": torch.from_numpy(np.array(IMAGES[0])).permute(2, 0, 1).repeat(2, 1, 1, 1),
    "a batch of arrays": np.stack([np.array(IMAGES[0])] * 2),
    "a mixture": [IMAGES[0], np.array(IMAGES[1]), torch.from_numpy(np.array(IMAGES[2])).permute(2, 0, 1)],
    "a tensor 3 pixels wide": random_pixels(3, 40, 3),
}


@both_backends
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_images(name, form, ours, calls):
    got = ours[name](FORMS[form], return_tensors="pt")
    assert len(calls) == 1
    assert_same_feature(got, ORIGINALS[name](FORMS[form], return_tensors="pt"))


LEFT_TO_THE_ORIGINAL = {
    "gray": (random_image(240, 300, mode="L"), {}),
    "transparent": (random_image(240, 300, mode="RGBA"), {}),
    "a palette": (random_image(240, 300, mode="P"), {}),
    "a mixture": ([IMAGES[0], random_image(240, 300, mode="RGBA")], {}),
    "floats": (torch.rand(3, 240, 300, generator=torch.Generator().manual_seed(0)), {"do_rescale": False}),
    "scaled floats": (np.random.default_rng(0).random((3, 240, 300), np.float32), {}),
    "another step": (IMAGES, {"do_normalize": False}),
    "another size": (IMAGES, {"size": {"shortest_edge": 300}}),
    "other constants": (IMAGES, {"image_mean": [0.5] * 3}),
    "None for a switch": (IMAGES, {"do_normalize": None}),
    "a layout": (np.moveaxis(np.array(IMAGES[0]), -1, 0), {"input_data_format": "channels_first"}),
    "a transparent colour": (IMAGES[0], {}),
}


@both_backends
@pytest.mark.parametrize("case", LEFT_TO_THE_ORIGINAL)
def test_what_is_left_to_the_original(name, case, ours, calls):
    images, options = LEFT_TO_THE_ORIGINAL[case]
    if case == "a transparent colour":
        images = images.copy()
        images.info["transparency"] = (0, 0, 0)
    got = ours[name](images, return_tensors="pt", **options)
    assert calls == []
    assert_same_feature(got, ORIGINALS[name](images, return_tensors="pt", **options))


@both_backends
def test_the_own_settings_in_a_call_change_nothing(name, ours, calls):
    options = {"do_resize": True, "resample": ORIGINALS[name].resample, "disable_grouping": None}
    got = ours[name](IMAGES, return_tensors="pt", **options)
    assert len(calls) == 1
    assert_same_feature(got, ORIGINALS[name](IMAGES, return_tensors="pt", **options))


@both_backends
def test_settings_that_are_changed_later_count(name, ours, calls):
    changed, original = copy.deepcopy(ours[name]), copy.deepcopy(ORIGINALS[name])
    for processor in (changed, original):
        processor.image_mean = (0.5, 0.5, 0.5)
    assert changed.fastnorm_target is None
    assert_same_feature(changed(IMAGES, return_tensors="pt"), original(IMAGES, return_tensors="pt"))
    assert calls == []
    assert ours[name].fastnorm_target is not None


WRONG_CALLS = {
    "a path": ("nowhere.jpg", {}),
    "a name": (IMAGES, {"no_such": 1}),
    "a value": (IMAGES, {"do_resize": 3}),
    "a kind of tensors": (IMAGES, {"return_tensors": "tf"}),
    "a kind of images": (3, {}),
}


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # torchvision's, which transformers calls
@both_backends
@pytest.mark.parametrize("case", WRONG_CALLS)
def test_errors_are_the_originals(name, case, ours):
    images, options = WRONG_CALLS[case]
    raised = []
    for processor in (ORIGINALS[name], ours[name]):
        with pytest.raises((TypeError, ValueError, StrictDataclassError)) as error:
            processor(images, **options)
        raised.append((type(error.value), str(error.value)))
    assert raised[0] == raised[1]


def test_no_images_are_the_originals(ours):
    assert ours["CLIP, Pillow"]([]) == ORIGINALS["CLIP, Pillow"]([])


def test_images_that_the_target_refuses_are_the_originals(calls):
    """A line of pixels, which would have none left: both refuse it, the original in its way."""
    original = CLIPImageProcessorPil(size={"height": 8, "width": 8}, do_center_crop=False)
    impossible = dataclasses.replace(Target.from_config(original), size=fastnorm.Sides(longest=8))
    made = image_processor(original)
    made._plan = made._plan._replace(target=impossible)
    line = random_image(1, 100)
    assert_same_feature(made(line, return_tensors="pt"), original(line, return_tensors="pt"))
    assert calls[-1] == 1


@pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # torchvision's, which transformers calls
def test_a_path_is_read_as_the_original_reads_it(ours):
    path = str(shipped_photographs()[0])
    for name in ("CLIP, Pillow", "CLIP"):
        assert_same_feature(ours[name](path, return_tensors="pt"), ORIGINALS[name](path, return_tensors="pt"))


def test_the_device_of_the_torchvision_backend(ours, calls):
    got = ours["CLIP"](IMAGES, return_tensors="pt", device="cpu")
    assert calls == [3]
    assert_same_feature(got, ORIGINALS["CLIP"](IMAGES, return_tensors="pt"))


@pytest.mark.gpu
def test_on_cuda_the_bits_are_the_cpus(ours):
    expected = ORIGINALS["CLIP"](IMAGES, return_tensors="pt").pixel_values
    got = ours["CLIP"](IMAGES, return_tensors="pt", device="cuda").pixel_values
    assert got.is_cuda
    assert_same_bits(got, expected)
    on_gpu = [torch.from_numpy(np.array(image)).permute(2, 0, 1).cuda() for image in IMAGES]
    assert_same_bits(ours["CLIP"](on_gpu, return_tensors="pt").pixel_values, expected)


# What takes it


@every_original
def test_it_is_one_of_its_class(name, ours):
    made, original = ours[name], ORIGINALS[name]
    assert isinstance(made, type(original))
    assert type(made).__name__ == type(original).__name__
    assert made.to_dict() == original.to_dict()
    assert repr(made) == repr(original)


@every_original
def test_copies(name, ours, calls):
    for again in (pickle.loads(pickle.dumps(ours[name])), copy.deepcopy(ours[name]), image_processor(ours[name])):
        assert type(again) is type(ours[name])
        assert again.fastnorm_target == ours[name].fastnorm_target is not None
        assert again.to_dict() == ours[name].to_dict()
    again(IMAGES[0], return_tensors="pt")
    assert calls == [1]


def test_another_process_unpickles_it(ours, tmp_path):
    (tmp_path / "ours.pickle").write_bytes(pickle.dumps(ours["CLIP"]))
    program = (
        "import pickle, sys; ours = pickle.load(open(sys.argv[1], 'rb')); "
        "assert ours.fastnorm_target is not None; print(type(ours).__mro__[2].__module__)"
    )
    done = forking.run("-c", program, str(tmp_path / "ours.pickle"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("transformers.models.clip")


@both_backends
def test_what_is_saved_is_the_originals(name, ours, tmp_path):
    ours[name].save_pretrained(tmp_path / "ours")
    ORIGINALS[name].save_pretrained(tmp_path / "theirs")
    file = "preprocessor_config.json"
    assert (tmp_path / "ours" / file).read_text() == (tmp_path / "theirs" / file).read_text()
    backend = ORIGINALS[name].backend
    loaded = AutoImageProcessor.from_pretrained(tmp_path / "ours", backend=backend)
    assert type(loaded) is type(ORIGINALS[name])
    # Of its own class it is loaded as the original is, and has not been verified.
    assert type(ours[name]).from_pretrained(tmp_path / "ours").fastnorm_target is None


def test_verify_knows_its_target(ours):
    found = fastnorm.verify(ours["CLIP"], IMAGES)
    assert found.identical
    assert found.target == Target.from_config(ORIGINALS["CLIP"])


@pytest.fixture(scope="module")
def tokenizer():
    words = ["<|startoftext|>", "<|endoftext|>", "a", "cat", "dog", "photo", "of"]
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<|endoftext|>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        model_max_length=8,
    )


@pytest.fixture(scope="module")
def small():
    """An image processor of a tiny model, and ours."""
    original = CLIPImageProcessor(**SMALL)
    return original, image_processor(original)


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 7, "max_position_embeddings": 8, "eos_token_id": 1, "bos_token_id": 0}
    vision = {**tower, "image_size": 30, "patch_size": 10}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()


def test_a_clip_processor_takes_it(tokenizer, small, tmp_path, calls):
    original, made = small
    theirs, own = (CLIPProcessor(image_processor=one, tokenizer=tokenizer) for one in (original, made))
    text = ["a photo of a cat", "a dog", "a cat"]
    options = {"text": text, "images": IMAGES, "return_tensors": "pt", "padding": True}
    got, expected = own(**options), theirs(**options)
    assert calls == [3]
    assert set(got) == set(expected)
    assert_same_bits(got["pixel_values"], expected["pixel_values"])
    assert torch.equal(got["input_ids"], expected["input_ids"])
    for name, processor in (("own", own), ("theirs", theirs)):
        processor.save_pretrained(tmp_path / name)
    saved = [{path.name: path.read_text() for path in (tmp_path / name).iterdir()} for name in ("own", "theirs")]
    assert saved[0] == saved[1]
    assert "fastnorm" not in json.dumps(saved[0])
    assert type(CLIPProcessor.from_pretrained(tmp_path / "own").image_processor) is CLIPImageProcessor


def test_a_pipeline_takes_it(tokenizer, small, clip, calls):
    original, made = small
    labels = ["cat", "dog"]
    scores = [
        transformers.pipeline("zero-shot-image-classification", model=clip, image_processor=one, tokenizer=tokenizer)(
            IMAGES, candidate_labels=labels, hypothesis_template="a photo of a {}"
        )
        for one in (original, made)
    ]
    assert calls == [1, 1, 1]
    assert scores[0] == scores[1]


def test_a_feature_extraction_pipeline_takes_it(calls):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=16)).eval()
    original = ViTImageProcessorPil(size={"height": 32, "width": 32})
    features = [
        transformers.pipeline("image-feature-extraction", model=model, image_processor=one)(IMAGES[0])
        for one in (original, image_processor(original))
    ]
    assert calls[-1] == 1
    assert features[0] == features[1]


def test_workers_of_a_loader_take_it(small):
    original, made = small
    loader = torch.utils.data.DataLoader(
        IMAGES, batch_size=3, num_workers=1, collate_fn=made, multiprocessing_context="fork"
    )
    (batch,) = list(loader)
    assert_same_bits(
        torch.from_numpy(np.stack(batch["pixel_values"])), original(IMAGES, return_tensors="pt")["pixel_values"]
    )


# What is refused


def test_a_difference_is_refused_with_the_report():
    with pytest.raises(ValueError, match="CLIPImageProcessor gives other values than the target") as error:
        image_processor(CLIPImageProcessor(), target=CLIP_224)
    assert "resizes with torch's arithmetic instead of Pillow's and" in " ".join(str(error.value).split())


def test_given_images_are_what_it_is_verified_with():
    """Those of a size at which nothing is resized do not tell the two arithmetics apart."""
    images = [random_image(224, 224)]
    fused = dataclasses.replace(CLIP_224, normalization=dataclasses.replace(fastnorm.CLIP, order="fused"))
    with pytest.raises(ValueError, match="gives other values"):
        image_processor(CLIPImageProcessor(), target=fused)
    with pytest.raises(ValueError, match="for several images"):  # of the built-in ones, in one call
        image_processor(CLIPImageProcessor(), images, target=fused)
    assert image_processor(CLIPImageProcessor(), images).fastnorm_target is not None


def test_an_orientation_is_verified_too():
    """A target that turns images upright, which the original does not."""
    target = dataclasses.replace(Target.from_config(CLIPImageProcessorPil()), exif="apply")
    with pytest.raises(ValueError, match="ignores the EXIF orientation"):
        image_processor(CLIPImageProcessorPil(), target=target)
    with pytest.raises(ValueError, match="for several images"):  # of the built-in ones, in one call
        image_processor(CLIPImageProcessorPil(), IMAGES, target=target)


def test_other_keys_are_refused():
    with pytest.raises(ValueError, match=r"gives \['pixel_mask', 'pixel_values'\], expected pixel_values alone"):
        image_processor(DetrImageProcessor(size={"shortest_edge": 60, "longest_edge": 90}))


@pytest.mark.parametrize(
    ("processor", "text"),
    [
        (CLIPImageProcessor, "got type, expected an image processor object of transformers"),
        (transforms.ToTensor(), "got ToTensor, expected an image processor object"),
        (dataclasses.make_dataclass("Holder", ["image_processor"])(1), r"image_processor\(processor.image_processor\)"),
    ],
)
def test_processors_that_are_none(processor, text):
    with pytest.raises(TypeError, match=text):
        image_processor(processor)


def test_what_returns_no_dictionary_is_refused():
    with pytest.raises(ValueError, match="gives list, expected pixel_values alone"):
        image_processor(IdeficsImageProcessor(image_size=48))


class WithoutTensors(CLIPImageProcessorPil):
    """A class of a user's own."""

    def process_image(self, image, **kwargs):
        if isinstance(image, torch.Tensor):
            raise TypeError("no tensors")
        return super().process_image(image, **kwargs)


def test_a_form_that_the_original_does_not_take_is_no_reason_to_refuse(calls):
    original = WithoutTensors()
    made = image_processor(original)
    assert isinstance(made, WithoutTensors)
    calls.clear()
    assert_same_feature(made(IMAGES, return_tensors="pt"), original(IMAGES, return_tensors="pt"))
    assert calls == [3]


def test_the_given_object_is_left_as_it_is():
    original = CLIPImageProcessor()
    before = copy.deepcopy(vars(original))
    image_processor(original)
    assert type(original) is CLIPImageProcessor
    assert vars(original) == before


# torchvision

TARGET = Target(fastnorm.CLIP, 48, "bicubic", Crop(40))
AS_TENSOR = torch.from_numpy(np.array(IMAGES[0])).permute(2, 0, 1)


@pytest.mark.parametrize("compose", [transforms.Compose, v2.Compose])
@pytest.mark.parametrize("image", [IMAGES[0], AS_TENSOR, tv_tensors.Image(AS_TENSOR)], ids=["PIL", "tensor", "Image"])
def test_a_target_in_a_compose(compose, image):
    (expected,) = fastnorm.fused_preprocess(IMAGES[:1], [TARGET])
    got = compose([ToTarget(TARGET)])(image)
    assert type(got) is torch.Tensor
    assert_same_bits(got, expected[0])


def test_it_is_the_chain_that_it_replaces():
    flip = v2.RandomHorizontalFlip(1.0)
    resize = transforms.Resize(48, transforms.InterpolationMode.BICUBIC)
    steps = [resize, transforms.CenterCrop(40), transforms.ToTensor()]
    chain = transforms.Compose([flip, *steps, transforms.Normalize(fastnorm.CLIP.mean, fastnorm.CLIP.std)])
    for image in IMAGES:
        assert_same_bits(v2.Compose([flip, ToTarget(TARGET)])(image), chain(image))


def test_a_batch_of_tensors():
    batch = torch.stack([AS_TENSOR, AS_TENSOR.flip(2)])
    (expected,) = fastnorm.fused_preprocess(batch, [TARGET], layout="NCHW")
    assert_same_bits(ToTarget(TARGET)(batch), expected)


def test_channels_come_first_even_where_the_width_is_3():
    image = random_pixels(3, 5, 3)
    assert_same_bits(ToTarget(TARGET)(image), fastnorm.fused_preprocess(image, [TARGET], layout="CHW")[0])


def test_a_target_in_the_workers_of_a_loader():
    class Images(torch.utils.data.Dataset):
        def __init__(self, transform):
            self.transform = transform

        def __len__(self):
            return len(IMAGES)

        def __getitem__(self, index):
            return self.transform(IMAGES[index])

    transform = v2.Compose([ToTarget(TARGET)])
    (batch,) = list(torch.utils.data.DataLoader(Images(transform), batch_size=3, num_workers=1))
    assert_same_bits(batch, fastnorm.fused_preprocess(IMAGES, [TARGET])[0])
    assert pickle.loads(pickle.dumps(transform)).transforms[0].target == TARGET


def test_a_target_shows_itself():
    assert repr(ToTarget(CLIP_224)) == f"ToTarget({CLIP_224!r})"


@pytest.mark.parametrize(
    ("image", "kind", "text"),
    [
        (np.zeros((4, 4, 3), np.uint8), TypeError, r"image: got ndarray, expected a PIL image or a uint8 tensor"),
        (torch.zeros(4, 4, dtype=torch.uint8), ValueError, r"image: got a tensor \(4, 4\), expected \(3, H, W\)"),
        (torch.zeros(3, 4, 4), TypeError, "uint8"),
        (random_image(20, 20, mode="RGBA"), ValueError, "transparent pixels"),
    ],
)
def test_images_that_are_none(image, kind, text):
    with pytest.raises(kind, match=text):
        ToTarget(TARGET)(image)


def test_a_transform_needs_a_target():
    with pytest.raises(TypeError, match="target: got a Normalization, expected a Target"):
        ToTarget(fastnorm.CLIP)
