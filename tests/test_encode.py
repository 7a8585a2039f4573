"""`fastnorm.integrations.ray.encode`: what is known of an image, what is refused, the same rows whatever happens."""

import dataclasses
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import encoders_for_tests
import fastnorm
import kill_encode
from fastnorm.cli import main
from fastnorm.integrations.ray import EncodeError, encode, status, verify
from fastnorm.integrations.ray import job as encode_job
from fastnorm.integrations.ray.encoders import Encoder
from fastnorm.integrations.ray.identity import described, fingerprint
from fastnorm.integrations.ray.output import Output
from fastnorm.integrations.ray.sources import open_source, read, scan

TARGET = fastnorm.Target(fastnorm.CLIP, size=24, resample="bicubic", crop=fastnorm.Crop())
VAE = fastnorm.Target(fastnorm.VAE, size=32, resample="bilinear", crop=fastnorm.Crop())
MEANS = {"means": (TARGET, "encoders_for_tests:means")}
COUNT = 11


def jpeg(index):
    file = io.BytesIO()
    pixels = np.random.default_rng(index).integers(0, 256, (30 + index, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


@pytest.fixture
def folder(tmp_path):
    """Eleven images, one of which is there twice, and one that is cut off."""
    path = tmp_path / "images"
    (path / "below").mkdir(parents=True)
    for index in range(COUNT):
        (path / "below" / f"{index}.jpg").write_bytes(jpeg(index))
    (path / "again.jpg").write_bytes(jpeg(3))
    (path / "cut.jpg").write_bytes(jpeg(99)[:400])
    return path


@pytest.fixture(scope="module")
def engine():
    """One Ray for the tests of this module: each start takes seconds."""
    import ray

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))  # of the workers
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()
    patch.undo()


def encoded(source, output, targets=MEANS, **options):
    return encode(source, output, targets, device="cpu", **{"batch_size": 4, "shard_rows": 4, **options})


def rows_of(output):
    return kill_encode.rows_of(Path(output))[0]


def by_hash(output):
    """The rows without their key, which says where an image was found."""
    return {
        row["sha256"]: {name: value for name, value in row.items() if name != "key"} for row in rows_of(output).values()
    }


# ---- identity


def test_every_field_of_a_target_is_part_of_its_description():
    changes = {
        "size": 25, "resample": "bilinear", "crop": fastnorm.Crop(20), "pad": False, "dtype": torch.float16,
        "alpha": "white", "arithmetic": "torch", "exif": "apply", "reducing_gap": 2.0, "batch": False,
        "memory_format": torch.channels_last, "normalization": fastnorm.IMAGENET, "before": (fastnorm.Halve(8),),
        "channel_order": "BGR",
    }  # fmt: skip
    assert changes.keys() == {field.name for field in dataclasses.fields(TARGET)}
    found = [described(dataclasses.replace(TARGET, **{name: value})) for name, value in changes.items()]
    assert len({fingerprint({"target": one}) for one in [*found, described(TARGET)]}) == len(changes) + 1


def test_a_description_tells_rules_and_functions_apart():
    rules = [
        fastnorm.Sides(shortest=8), fastnorm.Sides(shortest=8, rule="timm"), fastnorm.Sides(longest=8),
        encoders_for_tests.means, encoders_for_tests.two,
    ]  # fmt: skip
    found = [json.dumps(described(fastnorm.Target(fastnorm.CLIP, size=rule))) for rule in rules]
    assert len(set(found)) == len(rules)
    with pytest.raises(TypeError, match="no fingerprint"):
        described(fastnorm.Target(fastnorm.CLIP, size=lambda height, width: (height, width)))


def test_weights_and_settings_of_a_model_are_part_of_it(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = Encoder.of(tmp_path, "clip").described()
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    after = Encoder.of(tmp_path, "clip").described()
    (tmp_path / "config.json").write_text('{"model_type": "clip", "eps": 1}')
    assert len({fingerprint(one) for one in (before, after, Encoder.of(tmp_path, "clip").described())}) == 3


# ---- what is refused, before any work


def empty(path):
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda path: path, FileNotFoundError, "no such file or folder"),
        (empty, ValueError, "got no images"),
        (lambda path: (empty(path) / "a.txt").write_text("text") and path, ValueError, "got no images"),
        (
            lambda path: (empty(path) / "a.jpg").write_bytes(b"1") and (path / "b.tar").write_bytes(b"1") and path,
            ValueError,
            r"mixed sources \(1 of kind 'folder', 1 of kind 'tar'\)",
        ),
    ],
)
def test_a_source_without_images_of_one_kind_is_refused(tmp_path, make, error, text):
    with pytest.raises(error, match=text):
        encoded(make(tmp_path / "source"), tmp_path / "output")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("target", "encoder", "text"),
    [
        (TARGET, "no/folder", "expected the folder of a transformers vision model"),
        (TARGET, "encoders_for_tests:none", "cannot be imported"),
        (TARGET, "no_such_module:none", "cannot be imported"),
        (fastnorm.VAE_IMAGE_PROCESSOR, "encoders_for_tests:means", "depends on the image"),
        (dataclasses.replace(TARGET, crop=fastnorm.Crop(24, "random")), "encoders_for_tests:means", "random crop"),
        (dataclasses.replace(TARGET, dtype=torch.float16), "encoders_for_tests:means", "dtype"),
        (dataclasses.replace(TARGET, alpha="white"), "encoders_for_tests:means", "alpha"),
    ],
)
def test_a_target_or_encoder_that_cannot_work_is_refused(folder, tmp_path, target, encoder, text):
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        encoded(folder, tmp_path / "output", {"one": (target, encoder)})
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, "no config.json"),
        ({"config.json": "{}"}, "no weights"),
        ({"config.json": "{}", "model.bin": ""}, "of no known kind"),
        ({"config.json": "{", "model.bin": ""}, "no config.json that can be read"),
        ({"model_index.json": "{}"}, "a diffusers pipeline"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path, files, text):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=text):
        Encoder.of(tmp_path, "one")


def test_an_output_that_cannot_be_used_is_refused(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="got a file"):
        encoded(folder, tmp_path / "file")
    with pytest.raises(PermissionError, match="expected a folder that can be written"):
        encoded(folder, tmp_path / "file" / "below")
    with pytest.raises(ValueError, match="a folder with other files in it"):
        encoded(folder, folder)
    assert not (folder / "shards").exists()


def test_one_run_at_a_time_writes(tmp_path):
    output = Output(tmp_path / "output", "a" * 64, {}, add=False)
    with pytest.raises(ValueError, match="another run is writing"):
        Output(tmp_path / "output", "a" * 64, {}, add=False)
    output.close()
    Output(tmp_path / "output", "a" * 64, {}, add=False).close()


def test_without_the_extra_the_command_names_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(["encode", str(tmp_path), "out", "--target", "clip=clip-224:x"]) == 2
    assert 'pip install "fastnorm-triton[ray]"' in capsys.readouterr().err


@pytest.mark.loops
def test_the_command_says_what_is_wrong_in_one_line(folder, capsys):
    for arguments, text in [
        ([str(folder), "out"], "got no --target"),
        ([str(folder), "out", "--target", "clip"], "expected NAME=PRESET:MODEL"),
        ([str(folder), "out", "--target", "clip=clip-225:x"], "got the preset 'clip-225'"),
        ([str(folder), "out", "--target", "a=clip-224:x", "--target", "a=clip-224:x"], "twice"),
        ([str(folder), "out", "--target", "a=clip-224:no/folder"], "expected the folder of a transformers"),
        (["out", "--status"], "expected one that encode has made"),
        ([str(folder), "out", "--verify"], "expected OUTPUT alone"),
    ]:
        assert main(["encode", *arguments]) == 2
        said = capsys.readouterr().err
        assert text in said
        assert said.count("\n") == 1


# ---- sources


def make_tar(folder, path):
    with tarfile.open(path / "a.tar", "w") as tar:
        for file in sorted(folder.rglob("*.jpg")):
            tar.add(file, f"{file.stem}.jpg")
            (path / "note.txt").write_text("text")
            tar.add(path / "note.txt", f"{file.stem}.txt")
    (path / "note.txt").unlink()


def make_parquet(folder, path, wrap=lambda data: data):
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [wrap(file.read_bytes()) for file in sorted(folder.rglob("*.jpg"))]
    pq.write_table(pa.table({"n": range(len(images)), "image": images}), path / "a.parquet", row_group_size=4)


def make_datasets(folder, path):
    import datasets

    images = [{"bytes": file.read_bytes(), "path": None} for file in sorted(folder.rglob("*.jpg"))]
    table = datasets.Dataset.from_dict({"image": images}).cast_column("image", datasets.Image())
    table.save_to_disk(path, num_shards=2)


SOURCES = {
    "tar": make_tar,
    "parquet": make_parquet,
    "parquet of datasets": lambda folder, path: make_parquet(folder, path, lambda data: {"bytes": data, "path": None}),
    "datasets": make_datasets,
}


@pytest.mark.loops
@pytest.mark.parametrize("kind", SOURCES)
def test_a_source_gives_the_bytes_that_its_scan_has_hashed(folder, tmp_path, kind):
    (tmp_path / "source").mkdir()
    SOURCES[kind](folder, tmp_path / "source")
    source = open_source(tmp_path / "source")
    items = [item for file in source.files for item in scan(source, file)]
    expected = [file.read_bytes() for file in sorted(folder.rglob("*.jpg"))]
    if kind == "tar":  # whose members keep the order in which they were added
        assert [item.key for item in items] == [f"a.tar/{file.stem}.jpg" for file in sorted(folder.rglob("*.jpg"))]
    assert len({item.key for item in items}) == len(items) == COUNT + 2
    backwards = [(item.file, item.place, item.row) for item in reversed(items)]
    assert read(source.kind, source.column, backwards) == expected[::-1]


@pytest.mark.loops
def test_a_table_says_which_columns_it_has(folder, tmp_path):
    make_parquet(folder, tmp_path)
    with pytest.raises(ValueError, match=r"got 'n' for .*its columns: n \(int64\), image \(binary\)"):
        open_source(tmp_path / "a.parquet", "n")


def test_a_cut_off_tar_loses_what_is_behind_the_cut(folder, tmp_path):
    make_tar(folder, tmp_path)
    whole = (tmp_path / "a.tar").read_bytes()
    source = open_source(tmp_path / "a.tar")
    every = list(scan(source, source.files[0]))
    (tmp_path / "a.tar").write_bytes(whole[: every[5].place + 10])
    found = list(scan(source, source.files[0]))
    assert found[:5] == every[:5]
    assert [(one.key, one.sha256) for one in found[5:]] == [("a.tar", None)]
    assert "cannot be read" in found[5].error


def test_a_file_that_cannot_be_read_is_an_item_with_the_reason(folder):
    source = open_source(folder)
    (folder / "cut.jpg").unlink()
    (item,) = scan(source, str(folder / "cut.jpg"))
    assert (item.key, item.sha256, item.error) == ("cut.jpg", None, "cannot be read (No such file or directory)")


# ---- rows

pytestmark_ray = [pytest.mark.loops, pytest.mark.usefixtures("engine"), pytest.mark.filterwarnings("default")]


def with_ray(test):
    """A test of the engine's, whose own deprecations are not ours to mend."""
    for mark in pytestmark_ray:
        test = mark(test)
    return test


@with_ray
def test_rows_hold_what_the_encoder_makes_of_the_published_pixels(folder, tmp_path):
    targets = {"means": (TARGET, "encoders_for_tests:means"), "two": (VAE, "encoders_for_tests:two")}
    summary = encoded(folder, tmp_path / "output", targets)
    assert (summary.items, summary.unique, summary.encoded, summary.bad) == (COUNT + 2, COUNT + 1, COUNT, 1)
    assert summary.dependent == ()
    rows = {row["key"]: row for row in rows_of(tmp_path / "output").values()}
    assert rows.keys() == {"again.jpg", *(f"below/{index}.jpg" for index in range(COUNT) if index != 3)}
    for row in rows.values():
        image = opened((folder / row["key"]).read_bytes())
        small, large = fastnorm.fused_preprocess([image], [TARGET, VAE])
        assert row["means"] == encoders_for_tests.means(small)[0].tolist()
        assert row["two_low"] == encoders_for_tests.two(large)["low"][0].tolist()
        assert row["two_high"] == encoders_for_tests.two(large)["high"][0].tolist()
        assert (row["height"], row["width"]) == (image.height, image.width)
        offsets = fastnorm.fused_preprocess([image], [TARGET], return_offsets=True)[1]
        assert [row["means_top"], row["means_left"]] == offsets[0][0].tolist()
    (bad,) = (json.loads(line) for line in (tmp_path / "output" / "quarantine.jsonl").read_text().splitlines())
    assert bad["key"] == "cut.jpg"
    assert "expected a complete image" in bad["error"]
    assert "cut.jpg" in (tmp_path / "output" / "report.md").read_text()
    assert "cut.jpg" in (tmp_path / "output" / "report.html").read_text()


@with_ray
@pytest.mark.parametrize("kind", SOURCES)
def test_rows_are_the_same_from_every_kind_of_source(folder, tmp_path, kind):
    encoded(folder, tmp_path / "expected")
    (tmp_path / "source").mkdir()
    SOURCES[kind](folder, tmp_path / "source")
    encoded(tmp_path / "source", tmp_path / "output")
    assert by_hash(tmp_path / "output") == by_hash(tmp_path / "expected")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models of random weights: a CLIP vision tower with a projection, one without, and a VAE."""
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

    path = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=24, patch_size=8,
        projection_dim=16,
    )  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(path / "clip")
    CLIPVisionModel(config).save_pretrained(path / "vision")
    AutoencoderKL(
        block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, latent_channels=4,
    ).save_pretrained(path / "vae")  # fmt: skip
    return path


def of_models(models):
    return {
        "clip": (TARGET, models / "clip"),
        "pooled": (TARGET, models / "vision"),
        "tokens": (TARGET, f"{models / 'vision'}#last_hidden_state"),
        "vae": (VAE, models / "vae"),
    }


@with_ray
def test_models_rows_are_those_of_the_models_themselves(folder, tmp_path, models):
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionModel, CLIPVisionModelWithProjection

    encoded(folder, tmp_path / "output", of_models(models))
    clip = CLIPVisionModelWithProjection.from_pretrained(models / "clip").eval()
    vision = CLIPVisionModel.from_pretrained(models / "vision").eval()
    vae = AutoencoderKL.from_pretrained(models / "vae").eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for row in rows_of(tmp_path / "output").values():
        image = opened((folder / row["key"]).read_bytes())
        small, large = fastnorm.fused_preprocess([image], [TARGET, VAE])
        small, large = (torch.cat([one, torch.zeros(3, *one.shape[1:])]) for one in (small, large))  # the batch's size
        with torch.inference_mode():
            posterior = vae.encode(large).latent_dist
            assert row["clip"] == clip(small).image_embeds[0].tolist()
            assert row["pooled"] == vision(small).pooler_output[0].tolist()
            assert row["tokens"] == vision(small).last_hidden_state[0].flatten().tolist()
            assert row["vae_mean"] == posterior.mean[0].flatten().tolist()
            assert row["vae_std"] == posterior.std[0].flatten().tolist()
    torch.set_num_threads(threads)
    import pyarrow.parquet as pq

    schema = pq.read_schema(next((tmp_path / "output" / "shards").iterdir()))
    assert json.loads(schema.field("vae_mean").metadata[b"shape"]) == [4, 16, 16]


@with_ray
def test_rows_do_not_depend_on_neighbours_order_or_workers(folder, tmp_path, models):
    encoded(folder, tmp_path / "one", of_models(models))
    files = sorted(folder.rglob("*.jpg"))
    (tmp_path / "shuffled").mkdir()
    for index, file in enumerate(np.random.default_rng(1).permutation(files)):
        shutil.copy(file, tmp_path / "shuffled" / f"{index:02}.jpg")
    encoded(tmp_path / "shuffled", tmp_path / "two", of_models(models), shard_rows=3, workers=1)
    assert by_hash(tmp_path / "one") == by_hash(tmp_path / "two")


@with_ray
def test_an_encoder_that_mixes_its_batch_is_named(folder, tmp_path):
    summary = encoded(folder, tmp_path / "output", {"mixed": (TARGET, "encoders_for_tests:of_batch")})
    assert summary.dependent == ("mixed",)
    assert "mixed" in (tmp_path / "output" / "report.md").read_text()


@with_ray
def test_values_that_are_not_finite_are_no_rows(folder, tmp_path):
    Image.new("RGB", (30, 30), "white").save(folder / "white.png")
    summary = encoded(folder, tmp_path / "output", {"one": (TARGET, "encoders_for_tests:not_finite")})
    assert (summary.encoded, summary.bad) == (COUNT, 2)
    assert "NaN or infinity" in (tmp_path / "output" / "quarantine.jsonl").read_text()


# ---- going on


@with_ray
def test_a_second_run_encodes_what_is_missing_and_nothing_else(folder, tmp_path, monkeypatch):
    encoded(folder, tmp_path / "output")
    before = rows_of(tmp_path / "output")
    (folder / "new.jpg").write_bytes(jpeg(50))
    (folder / "renamed.jpg").write_bytes((folder / "below" / "0.jpg").read_bytes())
    (folder / "below" / "0.jpg").unlink()
    assert status(tmp_path / "output")[0].missing == 0  # of the images that it knows
    summary = encoded(folder, tmp_path / "output")
    assert (summary.encoded, summary.before, summary.bad) == (1, COUNT + 1, 1)
    after = rows_of(tmp_path / "output")
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 1
    monkeypatch.setattr("fastnorm.integrations.ray.engine.Engine.start", None)  # cannot be called
    assert encoded(folder, tmp_path / "output").encoded == 0


@with_ray
def test_other_settings_are_refused_or_kept_apart(folder, tmp_path):
    encoded(folder, tmp_path / "output")
    with pytest.raises(ValueError, match="encoded with other settings"):
        encoded(folder, tmp_path / "output", batch_size=5)
    summary = encoded(folder, tmp_path / "output", batch_size=5, add=True)
    assert (summary.encoded, summary.before) == (COUNT, 0)
    assert [one.rows for one in status(tmp_path / "output")] == [COUNT, COUNT]
    assert verify(tmp_path / "output") == []


@with_ray
def test_a_full_disk_ends_the_run_and_the_next_goes_on(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(encode_job, "write_shard", encoders_for_tests.full_after_two)
    with pytest.raises(EncodeError, match="no space left on the device; make room; what is done is kept") as caught:
        encoded(folder, tmp_path / "output", shard_rows=1, batch_size=1)
    kept = rows_of(tmp_path / "output")
    assert 2 <= len(kept) < COUNT
    assert verify(tmp_path / "output") == []
    monkeypatch.undo()
    # With two CPUs this would wait for ever, if the error still held the first run's worker.
    assert encoded(folder, tmp_path / "output", shard_rows=1, batch_size=1).encoded == COUNT - len(kept)
    assert caught.value.__cause__ is not None
    assert len(rows_of(tmp_path / "output")) == COUNT


@with_ray
def test_verifying_finds_what_has_changed_and_a_run_mends_it(folder, tmp_path):
    encoded(folder, tmp_path / "output")
    expected = rows_of(tmp_path / "output")
    shards = sorted((tmp_path / "output" / "shards").iterdir())
    kept = shards[0].read_bytes()
    shards[0].write_bytes(kept[:100] + bytes([kept[100] ^ 1]) + kept[101:])
    shards[1].unlink()
    shutil.copy(shards[2], shards[2].with_name("copy.parquet"))
    problems = verify(tmp_path / "output")
    assert [problem.partition(":")[0] for problem in sorted(problems)] == sorted(
        [shards[0].name, shards[1].name, "copy.parquet"]
    )
    shards[0].unlink()
    shards[2].with_name("copy.parquet").unlink()
    assert status(tmp_path / "output")[0].missing > 0
    encoded(folder, tmp_path / "output")
    assert verify(tmp_path / "output") == []
    assert rows_of(tmp_path / "output") == expected


@with_ray
def test_what_a_killed_run_leaves_is_taken_up(folder, tmp_path):
    """A shard without its line in the manifest, half a line, files that are not finished."""
    output = tmp_path / "output"
    encoded(folder, output)
    manifest = (output / "manifest.jsonl").read_text().splitlines(keepends=True)
    (output / "manifest.jsonl").write_text("".join(manifest[:-1]) + manifest[-1][:30])
    (output / "unfinished" / "old").mkdir(parents=True)
    (output / "unfinished" / "old" / "a.parquet").write_bytes(b"half")
    assert len(verify(output)) == 1
    assert encoded(folder, output).encoded == 0
    assert verify(output) == []
    assert sorted((output / "manifest.jsonl").read_text().splitlines()) == sorted("".join(manifest).splitlines())
    assert not (output / "unfinished").exists()


@pytest.mark.loops
def test_rows_of_a_run_that_is_killed_are_those_of_one_that_is_not(tmp_path, pytestconfig):
    """Three times here, the job once and workers twice; ten times with --many-kills. Each restart takes long."""
    full = pytestconfig.option.many_kills
    options = ["--target", "means=clip-224:encoders_for_tests:slow_means", "--batch-size", "4", "--shard-rows", "12"]
    if full:
        options = ["--target", "means=clip-224:encoders_for_tests:means"]
    images, one_bad_in, kills, of_job = (full, 100, 10, 3) if full else (240, 40, 3, 1)
    done, rows, _ = kill_encode.compare(tmp_path, images, one_bad_in, kills, of_job, 7, options)
    assert len(done) == kills
    assert rows > 200
    assert any(shards for _, shards in done)  # some of them hit a run that had written something
