"""fused_preprocess against the published pipelines themselves, and everything that its arguments promise."""

import dataclasses
import itertools
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import fastnorm
from fastnorm import (
    CLIP_224,
    VAE,
    VAE_512,
    VAE_1024,
    Area,
    Border,
    Buckets,
    Crop,
    Halve,
    PackedImages,
    Pad,
    Resize,
    Sides,
    Square,
    Target,
)
from fastnorm.data.files import shipped_photographs
from fastnorm.spec.size import Size
from fastnorm.spec.steps import CENTRES
from helpers import assert_same_bits, poisoned, preprocess_by_kernel, random_pixels

pytestmark = [pytest.mark.compat, pytest.mark.pillow]

# The dataset of a tutorial with two targets: one PIL image, torchvision for the VAE, a processor for CLIP.
tutorial_vae = transforms.Compose(
    [
        transforms.Resize(512, interpolation=InterpolationMode.BILINEAR),
        transforms.CenterCrop(512),
        transforms.ToTensor(),
        transforms.Normalize([0.5], [0.5]),
    ]
)
tutorial_clip = CLIPImageProcessorPil()


def tutorial(images):
    clip = [tutorial_clip(images=image, return_tensors="pt").pixel_values for image in images]
    return torch.stack([tutorial_vae(image) for image in images]), torch.cat(clip)


def noise(height, width, seed=0):
    return Image.fromarray(random_pixels(height, width, 3, seed=seed).numpy())


def same(got, expected):
    for output, value in zip(got, expected, strict=True):
        assert_same_bits(output, value)


# --- the published pipelines


def test_the_shipped_photographs():
    images = [Image.open(path).convert("RGB") for path in shipped_photographs()]
    expected = tutorial(images)
    same(fastnorm.fused_dual_preprocess(images), expected)
    same(fastnorm.reference.preprocess(images, [VAE_512, CLIP_224]), expected)


def test_files_that_pil_has_not_decoded_yet():
    opened = [Image.open(path) for path in shipped_photographs()]
    same(
        fastnorm.fused_dual_preprocess([*opened, opened[0]]),
        fastnorm.fused_dual_preprocess(
            [np.array(Image.open(path)) for path in (*shipped_photographs(), shipped_photographs()[0])]
        ),
    )


sides = st.integers(1, 40) | st.integers(30, 900)
shapes = st.tuples(sides, sides).filter(lambda shape: max(shape) <= 12 * min(shape))


@given(shape=shapes, seed=st.integers(0, 2**16))
@example(shape=(512, 512), seed=0)
@example(shape=(224, 224), seed=0)
@example(shape=(1, 1), seed=0)
@example(shape=(1200, 500), seed=0)  # taller than 2:1: the vertical pass first, since Pillow 13
@example(shape=(513, 512), seed=0)
def test_500_random_shapes(shape, seed):
    image = noise(*shape, seed)
    same(fastnorm.fused_dual_preprocess([image]), tutorial([image]))


# The same pipelines at a size that Triton's interpreter gets through.
small_vae = transforms.Compose(
    [transforms.Resize(24), transforms.CenterCrop(24), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
)
small_clip = CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
small_sides = st.integers(1, 5) | st.integers(1, 60)


@given(batch=st.lists(st.tuples(small_sides, small_sides), min_size=8, max_size=16), seed=st.integers(0, 2**16))
@settings(max_examples=settings().max_examples // 4)
@example(batch=[(1, 1), (24, 24), (16, 16), (60, 1), (1, 60), (60, 29), (61, 30), (24, 50)], seed=0)
def test_hundreds_of_random_shapes_through_the_kernels(batch, seed):
    images = [noise(*shape, seed + index) for index, shape in enumerate(batch)]
    expected = [
        torch.stack([small_vae(image) for image in images]),
        torch.cat([small_clip(images=image, return_tensors="pt").pixel_values for image in images]),
    ]
    same(preprocess_by_kernel(images, SMALL), expected)
    same(small(images), expected)


def test_sdxl_at_1024():
    image = noise(700, 1100)
    transform = transforms.Compose(
        [
            transforms.Resize(1024),
            transforms.CenterCrop(1024),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    (vae,) = fastnorm.fused_preprocess([image], [VAE_1024])
    assert_same_bits(vae, transform(image)[None])


to_tensor = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])


def sd_script(images, random_flip=True):
    """diffusers' train_text_to_image.py with --random_flip: torchvision's transforms, one image after the other."""
    flip = transforms.RandomHorizontalFlip() if random_flip else transforms.Lambda(lambda image: image)
    transform = transforms.Compose([transforms.Resize(40), transforms.RandomCrop(40), flip, to_tensor])
    return torch.stack([transform(image) for image in images])


def sdxl_script(images, center_crop=False):
    """train_text_to_image_sdxl.py with --random_flip: the pixels, and crop_coords_top_left."""
    resize, flip = transforms.Resize(40), transforms.RandomHorizontalFlip(p=1.0)
    crop = transforms.CenterCrop(40) if center_crop else transforms.RandomCrop(40)
    pixels, corners = [], []
    for image in images:
        image = resize(image)
        if random.random() < 0.5:
            image = flip(image)
        if center_crop:
            top, left = (max(0, round((side - 40) / 2.0)) for side in (image.height, image.width))
            image = crop(image)
        else:
            top, left, height, width = crop.get_params(image, (40, 40))
            image = torchvision.crop(image, top, left, height, width)
        pixels.append(to_tensor(image))
        corners.append([top, left])
    return torch.stack(pixels), corners


SCRIPT_IMAGES = [noise(60, 90, 1), noise(75, 50, 2), noise(64, 64, 3), noise(41, 90, 4), noise(40, 43, 5)]
AT_RANDOM = Target(VAE, size=40, crop=Crop(40, "random"))


def seeded(seed, call):
    """The call's result, and the states in which it leaves both generators."""
    torch.manual_seed(seed)
    random.seed(seed)
    return call(), torch.get_rng_state(), random.getstate()


def same_states(ours, theirs):
    assert torch.equal(ours[1], theirs[1])
    assert ours[2] == theirs[2]


@pytest.mark.parametrize("seed", range(100))
def test_random_crops_and_mirrors_are_those_of_diffusers_scripts(seed):
    published = seeded(seed, lambda: sd_script(SCRIPT_IMAGES))
    ours = seeded(seed, lambda: fastnorm.fused_preprocess(SCRIPT_IMAGES, [AT_RANDOM], flip="random"))
    assert_same_bits(ours[0][0], published[0])
    same_states(ours, published)

    published = seeded(seed, lambda: sdxl_script(SCRIPT_IMAGES))

    def given():
        flips = [random.random() < 0.5 for _ in SCRIPT_IMAGES]
        return fastnorm.fused_preprocess(
            SCRIPT_IMAGES, [AT_RANDOM], flip=flips, flip_before_crop=True, return_offsets=True
        )

    def drawn():
        return fastnorm.fused_preprocess(
            SCRIPT_IMAGES, [AT_RANDOM], flip="random", flip_before_crop=True, return_offsets=True
        )

    for call in (given, drawn):
        ours = seeded(seed, call)
        (got,), (offsets,) = ours[0]
        assert_same_bits(got, published[0][0])
        assert offsets.tolist() == published[0][1]
        same_states(ours, published)
    assert offsets.dtype is torch.int64


def test_random_mirrors_without_random_crops_are_those_of_the_scripts():
    target = Target(VAE, size=40, crop=40)
    for seed in range(20):
        published = seeded(seed, lambda: sdxl_script(SCRIPT_IMAGES, center_crop=True))
        ours = seeded(
            seed, lambda: fastnorm.fused_preprocess(SCRIPT_IMAGES, [target], flip="random", flip_before_crop=True)
        )
        assert_same_bits(ours[0][0], published[0][0])
        same_states(ours, published)
        flip = transforms.Compose([transforms.CenterCrop(40), transforms.RandomHorizontalFlip(), to_tensor])
        resized = [torchvision.resize(image, 40) for image in SCRIPT_IMAGES]
        published = seeded(seed, lambda: torch.stack([flip(image) for image in resized]))  # noqa: B023
        ours = seeded(seed, lambda: fastnorm.fused_preprocess(SCRIPT_IMAGES, [target], flip="random"))
        assert_same_bits(ours[0][0], published[0])
        same_states(ours, published)


def test_the_first_target_at_random_is_drawn_as_if_it_were_alone():
    clip, other = Target(fastnorm.CLIP, 16, crop=16), Target(VAE, 40, crop=Crop(24, "random"))
    (alone,), _, _ = seeded(5, lambda: fastnorm.fused_preprocess(SCRIPT_IMAGES, [AT_RANDOM], flip="random"))
    (small, large, third), _, _ = seeded(
        5, lambda: fastnorm.fused_preprocess(SCRIPT_IMAGES, [clip, AT_RANDOM, other], flip="random")
    )
    assert_same_bits(large, alone)
    plain, mirrored = (fastnorm.fused_preprocess(SCRIPT_IMAGES, [clip], flip=flip)[0] for flip in (False, True))
    flips = [not torch.equal(*pair) for pair in zip(small, plain, strict=True)]
    assert 0 < sum(flips) < len(flips), "one seed mirrors some"
    assert_same_bits(small, torch.where(torch.tensor(flips)[:, None, None, None], mirrored, plain))
    assert third.shape == (5, 3, 24, 24)


def test_random_crops_without_mirrors_are_the_script_s():
    for flip in (None, False):
        published = seeded(7, lambda: sd_script(SCRIPT_IMAGES, random_flip=False))
        ours = seeded(7, lambda: fastnorm.fused_preprocess(SCRIPT_IMAGES, [AT_RANDOM], flip=flip))  # noqa: B023
        assert_same_bits(ours[0][0], published[0])
        same_states(ours, published)


def test_a_random_crop_of_a_smaller_image_pads_as_torchvision_does():
    images = [noise(30, 90, seed) for seed in range(8)]
    crop = transforms.RandomCrop(40, pad_if_needed=True)
    torch.manual_seed(3)
    expected = torch.stack([torchvision.to_tensor(crop(image)) for image in images])
    torch.manual_seed(3)
    (got,) = fastnorm.fused_preprocess(images, [Target(fastnorm.Normalization(0.0, 1.0), crop=Crop(40, "random"))])
    assert_same_bits(got, expected)


def test_given_positions_come_back_and_reach_beyond_the_image():
    images = [noise(50, 70, seed) for seed in range(3)]
    places = [(0, 0), (-5, 41), (30, -8)]
    for at in (places, torch.tensor(places), np.array(places)):
        target = Target(VAE, crop=32)
        (got,), (offsets,) = fastnorm.fused_preprocess(images, [target], positions=[at], return_offsets=True)
        assert offsets.tolist() == [list(place) for place in places]
        for image, (top, left), output in zip(images, places, got, strict=True):
            cut = torchvision.crop(image, top, left, 32, 32)  # zeros outside
            (expected,) = fastnorm.reference.normalize(np.array(cut), [VAE])
            assert_same_bits(output, expected)
    one_for_all = fastnorm.fused_preprocess(images[:1], [Target(VAE, crop=Crop(32, (-5, 41)))])
    one_each = fastnorm.fused_preprocess(images[:1], [Target(VAE, crop=32)], positions=[[(-5, 41)]])
    assert_same_bits(one_for_all[0], one_each[0])


def test_offsets_of_centre_crops():
    _, offsets = fastnorm.fused_dual_preprocess([noise(300, 451), noise(100, 40)], return_offsets=True)
    vae, clip = offsets
    assert vae.tolist() == [[0, round((int(512 * 451 / 300) - 512) / 2)], [round((1280 - 512) / 2), 0]]
    assert clip.tolist() == [[0, (int(224 * 451 / 300) - 224) // 2], [(560 - 224) // 2, 0]]
    _, (padded,) = fastnorm.fused_preprocess([noise(30, 41)], [Target(VAE, crop=50)], return_offsets=True)
    assert padded.tolist() == [[-10, -4]]


@pytest.mark.parametrize("name", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_every_filter_by_pillow_s_torchvision_s_and_our_name(name):
    image = noise(37, 53)
    expected = np.array(image.resize((20, 31), Image.Resampling[name.upper()]))
    for resample in (name, name.upper(), Image.Resampling[name.upper()], InterpolationMode(name)):
        (got,) = fastnorm.fused_preprocess([image], [Target(VAE, size=(31, 20), resample=resample)])
        assert_same_bits(got[0], fastnorm.reference.normalize(expected, [VAE])[0])


def test_the_order_of_another_pillow_can_be_asked_for():
    image = noise(120, 40)
    target = Target(VAE, size=24, crop=24)
    outputs = {
        version: fastnorm.fused_preprocess([image], [target], pillow_version=version)[0]
        for version in ("11", "12.3", "13", None)
    }
    assert_same_bits(outputs["11"], outputs["12.3"])
    assert not torch.equal(outputs["12.3"], outputs["13"])
    installed = torchvision.center_crop(torchvision.resize(image, 24), [24, 24])
    assert_same_bits(outputs[None][0], fastnorm.reference.normalize(np.array(installed), [VAE])[0])


# --- inputs


def random_images(count=3):
    return [random_pixels(40 + 7 * index, 60 - 5 * index, 3, seed=index) for index in range(count)]


SMALL = (Target(VAE, size=24, crop=24), Target(fastnorm.CLIP, 16, "bicubic", Crop(16, "transformers")))


def small(images, **options):
    return fastnorm.fused_preprocess(images, SMALL, **options)


def as_pil(image):
    return Image.fromarray(image.numpy())


def as_packed(image):
    return image.numpy()


KINDS = {
    "HWC": lambda image: image,
    "CHW": lambda image: image.permute(2, 0, 1).contiguous(),
    "CHW view of HWC": lambda image: image.permute(2, 0, 1),
    "array": lambda image: image.numpy(),
    "PIL": as_pil,
    "crop of a larger one": lambda image: torch.nn.functional.pad(image, (0, 0, 5, 3, 2, 9))[2:-9, 5:-3],
    "mirrored array": lambda image: image.numpy()[:, ::-1].copy()[:, ::-1],
    "misaligned": lambda image: torch.cat([image.new_zeros(1), image.flatten()])[1:].view(image.shape),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_of_image(kind):
    same(small([kind(image) for image in random_images()]), fastnorm.reference.preprocess(random_images(), SMALL))


def test_kinds_may_be_mixed():
    images = [kind(image) for kind, image in zip(KINDS.values(), random_images(len(KINDS)), strict=True)]
    same(small(images), fastnorm.reference.preprocess(random_images(len(KINDS)), SMALL))
    same(small(tuple(images)), small(images))


def test_batches_video_and_single_images():
    images = random_pixels(2, 3, 50, 40, 3)
    expected = small(list(images.flatten(0, 1)))
    same(small(images.flatten(0, 1)), expected)
    same(small(images.flatten(0, 1).permute(0, 3, 1, 2)), expected)
    same(small(images.flatten(0, 1).numpy()), expected)
    video = small(images)
    assert video[0].shape == (2, 3, 3, 24, 24)
    same([output.flatten(0, 1) for output in video], expected)
    same([output.flatten(0, 1) for output in small(images[:, ::2])], [output[[0, 2, 3, 5]] for output in expected])
    for one in (images[0, 0], images[0, 0].permute(2, 0, 1), images[0, 0].numpy(), as_pil(images[0, 0])):
        same(small(one), [output[0] for output in expected])


def test_expanded_images():
    image = random_pixels(30, 40, 3)
    same(small(image.expand(4, 30, 40, 3)), small([image] * 4))
    grey = random_pixels(30, 40, 1).expand(30, 40, 3)
    same(small([grey]), small([grey.contiguous()]))


def test_packed_images_cannot_be_changed_and_can_be_sliced():
    packed = PackedImages.pack(random_images())
    for name in ("buffer", "offsets", "sizes"):
        with pytest.raises(AttributeError):
            setattr(packed, name, getattr(packed, name))
    for part in (slice(1, None), slice(None, None, -1), slice(-2, None), slice(5, 9)):
        some = packed[part]
        assert some.sizes == packed.sizes[part]
        assert some.buffer is packed.buffer
        assert all(torch.equal(some[index], image) for index, image in enumerate(random_images()[part]))
    assert torch.equal(packed[-1], random_images()[-1])


def test_packed_images():
    packed = PackedImages.pack(
        [as_pil(random_images()[0]), random_images()[1].permute(2, 0, 1), random_images()[2].numpy()]
    )
    assert len(packed) == 3
    assert packed.sizes == tuple(tuple(image.shape[:2]) for image in random_images())
    assert all(torch.equal(packed[index], image) for index, image in enumerate(random_images()))
    same(small(packed), small(random_images()))
    same(small(pickle.loads(pickle.dumps(packed)).to("cpu")), small(random_images()))
    shifted = PackedImages(
        torch.cat([torch.zeros(5, dtype=torch.uint8), packed.buffer]), [5 + o for o in packed.offsets], packed.sizes
    )
    same(small(shifted), small(random_images()))
    assert repr(packed) == f"PackedImages(3 images, {packed.buffer.numel()} bytes on cpu)"


def test_no_images():
    for images in ([], torch.zeros(0, 40, 50, 3, dtype=torch.uint8), PackedImages.pack([])):
        outputs, offsets = small(images, return_offsets=True)
        assert [tuple(output.shape) for output in outputs] == [(0, 3, 24, 24), (0, 3, 16, 16)]
        assert [tuple(offset.shape) for offset in offsets] == [(0, 2), (0, 2)]


# --- outputs


def test_dtypes_and_memory_formats():
    for dtype, memory_format in itertools.product(
        (torch.float32, torch.float16, torch.bfloat16), (torch.contiguous_format, torch.channels_last)
    ):
        target = Target(VAE, size=24, crop=(20, 28), dtype=dtype, memory_format=memory_format)
        (got,) = fastnorm.fused_preprocess(random_images(), [target])
        (expected,) = fastnorm.fused_preprocess(random_images(), [Target(VAE, size=24, crop=(20, 28))])
        assert got.is_contiguous(memory_format=memory_format)
        assert_same_bits(got.contiguous(), expected.to(dtype))


def test_out_is_written_and_returned():
    whole = poisoned((3, 3, 30, 30), torch.bfloat16)
    window = whole[..., 3:27, 2:26]
    got, new = fastnorm.fused_preprocess(random_images(), SMALL, out=[window, None])
    assert_same_bits(new, small(random_images())[1])
    assert got is window
    assert_same_bits(window.contiguous(), small(random_images())[0].to(torch.bfloat16))
    window.fill_(float("nan"))
    assert whole.isnan().all()


def test_no_resize_and_no_crop():
    image = random_pixels(31, 17, 3)
    (got,) = fastnorm.fused_preprocess([image, image], [Target(fastnorm.CLIP)])
    (expected,) = fastnorm.fused_normalize(torch.stack([image, image]), [fastnorm.CLIP])
    assert_same_bits(got, expected)


def test_a_flip_mirrors_every_target():
    images = random_images(2)
    plain, mirrored = small(images), small(images, flip=torch.tensor([True, False]))
    for a, b in zip(plain, mirrored, strict=True):
        assert_same_bits(b[0], a[0].flip(-1))
        assert_same_bits(b[1], a[1])
    same(small(images, flip=True), [output.flip(-1) for output in plain])
    same(small(images, flip=np.array([False, False])), plain)


def test_padding_of_both_libraries():
    image = noise(10, 13)
    (ours,) = fastnorm.fused_preprocess([image], [Target(VAE, crop=21)])
    to_tensor = transforms.Compose(
        [transforms.CenterCrop(21), transforms.ToTensor(), transforms.Normalize([0.5], [0.5])]
    )
    assert_same_bits(ours[0], to_tensor(image))
    processor = CLIPImageProcessorPil(do_resize=False, crop_size={"height": 21, "width": 21})
    (ours,) = fastnorm.fused_preprocess([image], [Target(fastnorm.CLIP, crop=Crop(21, "transformers"))])
    assert_same_bits(ours, processor(image, return_tensors="pt").pixel_values)


def test_a_preset_s_crop_follows_its_size():
    image = noise(90, 130)
    target = dataclasses.replace(VAE_512, size=40)
    assert target.crop_size == (40, 40)
    (got,) = fastnorm.fused_preprocess([image], [target])
    assert_same_bits(got, fastnorm.fused_preprocess([image], [Target(VAE, size=40, crop=40)])[0])
    assert dataclasses.replace(fastnorm.DINOV2_224, size=300).crop_size == (224, 224)
    assert Target(VAE, size=(30, 40), crop=Crop()).crop_size == (30, 40)


def test_a_call_s_dtype_is_for_targets_without_one():
    targets = [*SMALL, dataclasses.replace(SMALL[0], dtype=torch.float16)]
    for dtype in (torch.bfloat16, [torch.bfloat16] * 3):
        outputs = fastnorm.fused_preprocess(random_images(), targets, dtype=dtype)
        assert [output.dtype for output in outputs] == [torch.bfloat16, torch.bfloat16, torch.float16]
        same(outputs[:2], [output.to(torch.bfloat16) for output in small(random_images())])


def test_images_go_to_a_device_in_one_copy(monkeypatch):
    """The meta device stands for a GPU: it holds no values, but knows what it got."""
    copies, to = [], torch.Tensor.to

    def counted(tensor, *arguments, **options):
        copies.extend(argument for argument in arguments if isinstance(argument, torch.device))
        return to(tensor, *arguments, **options)

    images = [as_pil(random_images()[0]), *random_images()[1:]]
    monkeypatch.setattr(torch.Tensor, "to", counted)
    for source, leading in ((images, (3,)), (images[0], ()), (torch.stack([random_images()[0]] * 2), (2,))):
        copies.clear()
        outputs = fastnorm.fused_preprocess(source, SMALL, device="meta")
        assert [output.device.type for output in outputs] == ["meta"] * 2
        assert outputs[0].shape == (*leading, 3, 24, 24)
        assert copies == [torch.device("meta")]
    monkeypatch.undo()
    same(small(images, device="cpu"), small(random_images()))
    with pytest.raises(ValueError, match="images: on meta with device='cpu'"):
        fastnorm.fused_preprocess([random_images()[0].to("meta")], SMALL, device="cpu")


def test_targets_are_values():
    assert Target(VAE, 512, "bilinear", Crop()) == VAE_512
    assert hash(Target(VAE, 512, "bilinear", Crop())) == hash(VAE_512)
    assert Target(VAE, {"shortest_edge": 512}, 2, Crop()) == VAE_512
    assert Target(VAE, {"height": 5, "width": 7}).size == (5, 7)
    for name in ("lanczos", "bilinear", "bicubic", "box", "hamming", "nearest"):
        number = Image.Resampling[name.upper()].value
        assert Target(VAE, resample=number) == Target(VAE, resample=Image.Resampling(number)) == Target(VAE, None, name)
    assert pickle.loads(pickle.dumps(CLIP_224)) == CLIP_224
    assert dataclasses.replace(VAE_512, dtype=torch.bfloat16).dtype is torch.bfloat16
    assert Target(VAE, size=[3, np.int64(4)]).size == (3, 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        VAE_512.size = 3


def half(height, width):
    return (height + 1) // 2, (width + 1) // 2


def test_geometry_is_made_of_values():
    """Equal where everything is equal, though it may be said in two ways; a pickle and a repr are as good."""

    def made():
        yield Sides(longest=30, rule="timm", rounding="floor", multiple_of=4)
        yield Sides(shortest=8, longest=30, rule="transformers")
        yield Area(4, min_pixels=16, max_pixels=400)
        yield Square("longest", 0.5)
        yield Buckets([(1, 2), (3, 4)])
        yield Border(1, 2, 3, 4)
        yield Resize(Sides(within=(8, 9)), 3, 2)
        yield Halve(8)
        yield Crop(Square("shortest"), (1, 2))
        yield Pad(7)
        yield Pad(value=0.5)
        yield Pad(mode="reflect")

    for one, other in itertools.product(made(), made()):
        assert (one == other) is (repr(one) == repr(other)), (one, other)
    for one, again in zip(made(), made(), strict=True):
        assert hash(one) == hash(again)
        assert pickle.loads(pickle.dumps(one)) == one
    rules = [one for one in made() if isinstance(one, (Sides, Area, Square, Buckets))]
    assert [eval(repr(rule), {**vars(fastnorm), "Size": Size}) for rule in rules] == rules
    target = Target(VAE, half, before=[Border(1), Halve(8)], pad=Pad((1, 2, 3)), exif="apply", batch=False)
    assert pickle.loads(pickle.dumps(target)) == target
    assert len({target, dataclasses.replace(target), dataclasses.replace(target, batch=True)}) == 2


def test_one_thing_said_in_two_ways_is_one_value():
    assert Sides(longest=9, rule="timm", rounding="round") == Sides(longest=9, rule="timm")
    assert dataclasses.replace(Sides(longest=9), rule="timm") == Sides(longest=9, rule="timm")
    assert Target(VAE, {"shortest_edge": 8, "longest_edge": 9}).size == Sides(
        shortest=8, longest=9, rule="transformers"
    )
    assert Target(VAE, {"max_height": 8, "max_width": 9}).size == Sides(within=(8, 9), rule="transformers")
    assert Target(VAE, pad=Pad()) == Target(VAE, pad=True)
    assert Target(VAE, before=Halve(8)) == Target(VAE, before=[Halve(8)])
    assert Border(3) == Border(3, 3, 3, 3)
    assert Pad(5).fill == (5, 5, 5)
    assert Pad(np.array([1, 2, 3])) == Pad((1, 2, 3))


# --- a list of tensors


RAGGED = Target(fastnorm.CLIP, Sides(longest=20, multiple_of=2), "bicubic", batch=False)


def alone(image, target, **options):
    """What an image becomes by itself, as a batch of one."""
    return fastnorm.fused_preprocess([image], [dataclasses.replace(target, batch=True)], **options)[0][0]


def test_a_list_has_each_image_at_its_own_size():
    images = [*random_images(), random_images()[0]]
    (got,) = fastnorm.fused_preprocess(images, [RAGGED])
    assert isinstance(got, list)
    assert len({output.shape for output in got}) > 1, "otherwise nothing is seen"
    same(got, [alone(image, RAGGED) for image in images])
    (by_reference,) = fastnorm.reference.preprocess(images, [RAGGED])
    same(by_reference, got)
    (by_kernel,) = preprocess_by_kernel(images, [RAGGED])
    same(by_kernel, got)


def test_a_list_is_one_whatever_the_images_are():
    for images in (random_images()[:1], random_images()[0], torch.stack([random_images()[0]] * 2)):
        (got,) = fastnorm.fused_preprocess(images, [RAGGED])
        assert isinstance(got, list)
        assert [output.dim() for output in got] == [3] * len(got)
    assert fastnorm.fused_preprocess([], [RAGGED]) == ([],)
    video = torch.stack([torch.stack([random_images()[0]] * 2)] * 3)
    (got,) = fastnorm.fused_preprocess(video, [RAGGED])
    same(got, [alone(random_images()[0], RAGGED)] * 6)
    dual = fastnorm.fused_dual_preprocess(random_images(), clip=RAGGED)
    assert "clip=list of 3 tensors" in repr(dual)


def test_lists_and_batches_in_one_call():
    packed = PackedImages.pack(random_images())
    half_sized = dataclasses.replace(RAGGED, size=half, dtype=torch.bfloat16, memory_format=torch.channels_last)
    for images in (random_images(), packed):
        got = fastnorm.fused_preprocess(images, [SMALL[0], RAGGED, half_sized], flip=[True, False, True])
        (wanted,) = fastnorm.fused_preprocess(images, [SMALL[0]], flip=[True, False, True])
        assert_same_bits(got[0], wanted)
        for index, target in ((1, RAGGED), (2, half_sized)):
            each = zip(random_images(), (True, False, True), strict=True)
            same(got[index], [alone(image, target, flip=flip) for image, flip in each])
        assert all(output.movedim(0, -1).is_contiguous() for output in got[2])


def test_a_list_is_written_into_the_caller_s_tensors():
    wanted = fastnorm.fused_preprocess(random_images(), [RAGGED])[0]
    out = [poisoned(output.shape, torch.float16) for output in wanted]
    ((*got,),) = fastnorm.fused_preprocess(random_images(), [RAGGED], out=[out])
    assert all(mine is its for mine, its in zip(got, out, strict=True))
    same(got, [output.to(torch.float16) for output in wanted])


def test_a_size_and_a_box_for_each_image():
    images = [as_pil(image) for image in random_images()]
    sizes, boxes = [(9, 14), (20, 6), (9, 14)], [(1.5, 2, 19, 20.25), None, (0, 0, 3, 3)]
    target = Target(VAE, 99, "bicubic", batch=False)
    wanted = [
        transforms.Normalize([0.5], [0.5])(
            torchvision.to_tensor(image.resize(size[::-1], Image.Resampling.BICUBIC, box))
        )
        for image, size, box in zip(images, sizes, boxes, strict=True)
    ]
    for one, other in ((sizes, boxes), (torch.tensor(sizes), boxes), (np.array(sizes), tuple(boxes))):
        (got,) = fastnorm.fused_preprocess(images, [target], sizes=[one], boxes=[other])
        same(got, wanted)
    (got, plain) = fastnorm.fused_preprocess(images, [target, SMALL[0]], sizes=[sizes, None], boxes=[boxes, None])
    same(got, wanted)
    assert_same_bits(plain, small(images)[0])


# --- any geometry, on every path


pixels = st.integers(1, 30)
signed = st.integers(-6, 6)
rules = st.one_of(
    pixels,
    st.tuples(pixels, pixels),
    st.builds(Sides, longest=pixels, minimum=st.just(1), rule=st.sampled_from(["torchvision", "timm"])),
    st.builds(Sides, covering=st.tuples(pixels, pixels), rule=st.just("pillow"), minimum=st.just(1)),
    st.builds(Sides, within=pixels, enlarge=st.just(False), minimum=st.just(2), multiple_of=st.integers(1, 5)),
)
crops = st.one_of(
    st.builds(Crop, pixels, st.sampled_from(list(CENTRES))),
    st.builds(Crop, st.tuples(pixels, pixels), st.sampled_from(list(CENTRES))),
    st.builds(Crop, st.just(Square("longest"))),
    st.builds(Crop, st.just(Square("shortest"))),
)
steps = st.one_of(
    crops,
    st.builds(Border, st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
    st.builds(Resize, rules, st.sampled_from(["nearest", "lanczos"]), st.sampled_from([None, 1.0])),
    st.builds(Halve, pixels),
)
any_target = st.builds(
    Target,
    st.just(fastnorm.CLIP),
    st.none() | rules,
    st.sampled_from(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
    st.none() | crops,
    st.sampled_from([True, Pad((7, 250, 90)), Pad(mode="edge"), Pad(mode="reflect"), Pad(mode="symmetric")]),
    before=st.lists(steps, max_size=2),
    reducing_gap=st.sampled_from([None, None, 1.0, 2.0]),
    batch=st.just(False),
    dtype=st.sampled_from([None, torch.bfloat16]),
    channel_order=st.sampled_from(["RGB", "BGR"]),
)


@given(
    target=any_target,
    sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=3),
    mirrors=st.fixed_dictionaries({name: st.booleans() for name in ("flip", "vertical_flip", "flip_before_crop")}),
    order=st.sampled_from(["12", "12.3", "13"]),
)
def test_any_geometry_on_every_path(target, sizes, mirrors, order):
    """Pillow and torch, and the kernels, give what the reference does; the order of the passes is as asked for."""
    images = PackedImages.pack([random_pixels(*size, 3, seed=index) for index, size in enumerate(sizes)], layout="HWC")
    (wanted,) = fastnorm.reference.preprocess(images, [target], pillow_version=order, **mirrors)
    same(fastnorm.fused_preprocess(images, [target], pillow_version=order, **mirrors)[0], wanted)
    same(preprocess_by_kernel(images, [target], pillow_version=order, **mirrors)[0], wanted)


# --- what belongs to a target


def test_each_target_has_its_own_exif():
    image = noise(30, 50)
    exif = image.getexif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    upright = image.transpose(Image.Transpose.ROTATE_270)
    targets = [Target(VAE, 20, exif="apply", batch=False), Target(VAE, 20, batch=False)]
    got, plain = fastnorm.fused_preprocess([image], targets)
    same(got, [alone(torch.from_numpy(np.array(upright)), targets[0])])
    same(plain, [alone(torch.from_numpy(np.array(image)), targets[1])])
    got, plain = fastnorm.fused_preprocess([image], targets[::-1], exif="apply")
    assert got[0].shape == plain[0].shape == (3, 33, 20)
    with pytest.raises(ValueError, match=r"images\[0\]: got an EXIF orientation of 6"):
        fastnorm.fused_preprocess([image], [Target(VAE, 20, exif="error")])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pad", [Pad((12, 250, 3)), Pad(value=(0.3, -1.7, 2.9)), Pad(mode="edge")], ids=str)
def test_what_lies_around_an_image_is_rounded_once(pad, dtype):
    """Of two sizes in one batch, and mirrored: each border lies elsewhere."""
    target = Target(fastnorm.CLIP, Sides(longest=20), crop=Crop((21, 24), (-1, -3)), pad=pad, dtype=dtype)
    images, flips = [noise(30, 50), noise(50, 31)], {"flip": [True, False], "vertical_flip": [False, True]}
    (wanted,) = fastnorm.reference.preprocess(images, [dataclasses.replace(target, dtype=torch.float32)], **flips)
    if pad.value is not None:
        assert wanted[0, :, 0, 0].tolist() == torch.tensor(pad.value).tolist()
    elif pad.mode == "constant":
        codes = torch.tensor(pad.fill, dtype=torch.uint8).view(3, 1, 1)
        (corner,) = fastnorm.fused_normalize(codes, [fastnorm.CLIP], layout="CHW")
        assert_same_bits(wanted[0, :, :1, :1], corner)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        shaped = dataclasses.replace(target, memory_format=memory_format)
        out = [poisoned(wanted.shape, dtype, memory_format=memory_format)]
        same(fastnorm.fused_preprocess(images, [shaped], out=out, **flips), [wanted.to(dtype)])
        same(preprocess_by_kernel(images, [shaped], **flips), [wanted.to(dtype)])


def test_targets_share_the_steps_before(monkeypatch):
    from fastnorm.backends.cpu import pillow

    halved, reduced = [], Image.Image.reduce
    monkeypatch.setattr(Image.Image, "reduce", lambda self, *a: (halved.append(self.size), reduced(self, *a))[1])
    target = Target(VAE, (5, 6), reducing_gap=2)
    images = [noise(40, 50), noise(50, 40)]
    got = fastnorm.fused_preprocess(images, [target, dataclasses.replace(target, normalization=fastnorm.CLIP)])
    assert sorted(halved) == [(40, 50), (50, 40)]
    assert pillow.Image is Image
    (wanted,) = fastnorm.fused_preprocess(images, [target])
    assert_same_bits(got[0], wanted)


def test_targets_by_name_and_more_than_two():
    dual = fastnorm.fused_dual_preprocess(random_images(), vae=SMALL[0], clip=SMALL[1])
    same(dual, small(random_images()))
    assert dual.vae is dual[0]
    assert dual.clip is dual[1]
    five = fastnorm.fused_preprocess(
        random_images(), [*SMALL, SMALL[0], Target(fastnorm.DINOV2, 24, crop=24), SMALL[1]]
    )
    same((five[0], five[1], five[2], five[4]), (dual.vae, dual.clip, dual.vae, dual.clip))


def test_other_devices_take_the_reference():
    """The meta device stands for every device that is neither a CPU nor CUDA."""
    got = small(torch.zeros(2, 30, 40, 3, dtype=torch.uint8, device="meta"))
    assert [output.device.type for output in got] == ["meta", "meta"]
    assert got[0].shape == (2, 3, 24, 24)
    image = torch.zeros(64, 40, 3, dtype=torch.uint8, device="meta")
    for pad in (Pad(7), Pad(value=0.0), Pad(mode="reflect")):
        target = Target(VAE, Sides(longest=24), crop=24, pad=pad, before=Crop(30), reducing_gap=1.0)
        assert fastnorm.fused_preprocess([image], [target])[0].shape == (1, 3, 24, 24)
