"""`fastnorm verify` as a user meets it: what it prints and writes, its exit statuses."""

import json
import socket

import huggingface_hub
import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessor

import fastnorm
from fastnorm.cli import _parser, main
from fastnorm.spec.configs import targets
from fastnorm.spec.presets import TARGET_PRESETS
from helpers import random_pixels


@pytest.fixture
def model(tmp_path):
    """A model's folder, as save_pretrained writes it."""
    CLIPImageProcessor().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, (height, width) in enumerate([(227, 224), (300, 451)]):
        Image.fromarray(random_pixels(height, width, 3, seed=index).numpy()).save(folder / f"{index}.png")
    return folder


def test_identical(model, photos, capsys):
    assert main(["verify", str(model), str(photos), "--backend", "pil", "--target", "CLIP_224"]) == 0
    out = capsys.readouterr().out
    assert f"fastnorm {fastnorm.__version__} beside CLIPImageProcessorPil of transformers" in out
    assert "resize, bicubic: the short side to 224" in out
    assert "order to_tensor" in out
    assert "0.png  float32 (3, 224, 224)  150,528       0" in out
    assert out.endswith("identical: no value of 301,056 differs\n")


def test_different(model, photos, capsys):
    assert main(["verify", str(model), str(photos), "--target", "clip_224"]) == 1
    out = capsys.readouterr().out
    assert "CLIPImageProcessor of transformers" in out
    assert "different pixels: " in out
    text = " ".join(out.split())
    assert (
        "resizes with torch's arithmetic instead of Pillow's and normalises in the order 'fused'; with that, no" in text
    )
    assert "with fastnorm: dataclasses.replace(target, " in text


@pytest.mark.parametrize("backend", ["pil", "torchvision"])
def test_the_configuration_says_the_target(backend, model, photos, capsys):
    file = model / "preprocessor_config.json"
    assert main(["verify", str(file), str(photos / "0.png"), "--backend", backend]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"target, read from {file}:" in out
    assert ("torch's arithmetic" in out) is (backend == "torchvision")


def test_what_from_config_refuses_is_a_wrong_call(model, photos, monkeypatch, capsys):
    def refuse(_processor):
        raise ValueError("DINOv3 resizes floats")

    monkeypatch.setattr(fastnorm.Target, "from_config", refuse)
    assert main(["verify", str(model), str(photos)]) == 2
    assert "DINOv3 resizes floats; to compare it with a preset: --target CLIP_224" in capsys.readouterr().err


def test_golden_vectors(model, photos, tmp_path, capsys):
    file = tmp_path / "clip.npz"
    call = ["verify", str(model), str(photos), "--target", "CLIP_224", "--export", str(file)]
    assert main([*call, "--backend", "pil"]) == 0
    assert capsys.readouterr().out.endswith(f"golden vectors: {file}\n")
    with np.load(file) as arrays:
        assert [image["name"] for image in json.loads(arrays["description"].tobytes())["images"]] == ["0.png", "1.png"]
    file.unlink()
    assert main(call) == 1
    assert "golden vectors: not written" in capsys.readouterr().out
    assert not file.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.npy", "got a name that ends in '.npy', expected one in '.npz'"), ("no/a.npz", "got no folder")],
)
def test_a_file_that_cannot_be_written_is_said_first(name, text, photos, tmp_path, capsys):
    assert main(["verify", "nowhere", str(photos), "--export", str(tmp_path / name)]) == 2
    assert text in capsys.readouterr().err


def test_files_that_cannot_be_used_are_left_out(model, photos, capsys):
    (photos / "empty.jpg").write_bytes(b"")
    Image.new("RGBA", (80, 80), (255, 0, 0, 100)).save(photos / "glass.png")
    assert main(["verify", str(model), str(photos), "--backend", "pil", "--target", "CLIP_224"]) == 0
    out, err = capsys.readouterr()
    assert "identical: no value of 301,056 differs" in out
    assert err.startswith("left out 2, used 2:\n")
    assert "empty.jpg: got an empty file" in err
    assert "glass.png: got transparent pixels" in err


def test_no_file_that_can_be_used(model, tmp_path, capsys):
    assert main(["verify", str(model), str(tmp_path / "nowhere"), "--target", "CLIP_224"]) == 2
    err = capsys.readouterr().err
    assert "nowhere: got no such file or folder" in err
    assert "got no image that can be used" in err


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("nowhere.json", "nowhere.json: no such file; expected a preprocessor_config.json or its folder"),
        ("openai/no-such-model", "hf download openai/no-such-model preprocessor_config.json"),
        ("empty", "empty: "),
        ("wrong", "wrong: transformers makes no image processor of it ("),
    ],
)
def test_configurations_that_are_none(config, text, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "preprocessor_config.json").write_text('{"image_processor_type": "NoSuchImageProcessor"}')
    assert main(["verify", config, str(photos), "--target", "CLIP_224"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fastnorm verify: error: ")
    assert text in err
    assert err.count("\n") == 1


def test_a_backend_that_the_class_does_not_have(photos, tmp_path, capsys):
    (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "Sam2ImageProcessor"}')
    assert main(["verify", str(tmp_path), str(photos), "--backend", "pil", "--target", "CLIP_224"]) == 2
    assert "pil" in capsys.readouterr().err


def test_a_model_in_the_local_cache(photos, model, tmp_path, monkeypatch, capsys):
    """By its name, without reaching any other machine."""
    cache = tmp_path / "hub" / "models--someone--clip"
    snapshot = cache / "snapshots" / "0123456789"
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123456789")
    (model / "preprocessor_config.json").rename(snapshot / "preprocessor_config.json")

    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert main(["verify", "someone/clip", str(photos), "--backend", "pil", "--target", "CLIP_224"]) == 0
    assert "identical: " in capsys.readouterr().out


def test_the_parser_knows_every_preset_and_backend():
    """It has lists of its own, because the library's are in modules that import torch."""
    assert tuple(TARGET_PRESETS) == _parser._TARGETS
    assert targets.Backend.__args__ == _parser._BACKENDS


def test_an_unknown_preset_is_a_wrong_call(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["verify", "model", "photos", "--target", "CLIP_225"])
    assert exit_.value.code == 2
    assert "--target" in capsys.readouterr().err
