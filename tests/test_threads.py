"""Work on several threads: in order where it matters, early ends, and calls made while the interpreter shuts down."""

import functools
import io
import subprocess
import sys
import tarfile
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

import fastnorm
from fastnorm.runtime import threads
from helpers import random_pixels

pytestmark = pytest.mark.compat


@pytest.fixture(autouse=True)
def several_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_are_in_order():
    assert threads.run([functools.partial(int, str(i)) for i in range(100)]) == list(range(100))


def test_torch_s_own_threads_have_no_part_in_it():
    assert set(threads.run([torch.get_num_threads] * 20)) == {1}
    assert torch.get_num_threads() == 4


def test_jobs_run_in_the_caller_s_inference_mode():
    jobs = [lambda: (time.sleep(0.001), torch.is_inference_mode_enabled())[1]] * 20
    assert set(threads.run(jobs)) == {False}
    with torch.inference_mode():
        assert set(threads.run(jobs)) == {True}


def test_the_first_failing_job_s_exception_is_raised_and_no_job_starts_after_it():
    started = []

    def job(index):
        started.append(index)
        if index in (2, 3):
            time.sleep(0.05 * (4 - index))  # the later one fails first
            raise ValueError(index)
        time.sleep(0.001)

    with pytest.raises(ValueError, match="2"):
        threads.run([functools.partial(job, index) for index in range(1000)])
    assert len(started) < 1000


def test_ctrl_c_waits_for_the_jobs_that_have_begun_only():
    started = []

    def job(index):
        started.append(index)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        time.sleep(0.01)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        threads.run([functools.partial(job, index) for index in range(1000)])
    assert len(started) < 50
    assert threading.active_count() == before


def test_preprocessing_while_the_interpreter_shuts_down():
    """In a thread that outlives the main one, and after it in an atexit handler."""
    program = """
import atexit, threading, time
import numpy as np, torch, fastnorm
from PIL import Image
torch.set_num_threads(4)
images = [Image.fromarray(np.full((40, 50, 3), i, np.uint8)) for i in range(8)]
def work(where):
    vae, clip = fastnorm.fused_dual_preprocess(images)
    print(where, vae.shape[0], float(vae[3].min()) == float(vae[3].max()))
def late():
    threading.main_thread().join()
    time.sleep(0.2)
    work("thread")
atexit.register(work, "atexit")
threading.Thread(target=late).start()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("thread 8 True\natexit 8 True\n", 0), done.stderr


# --- files that PIL has opened and not yet decoded


def large_images():
    """Large enough that decoding one takes a while, so that two decoders of one handle would meet."""
    return [Image.fromarray(random_pixels(200, 300, 3, seed=seed).numpy()) for seed in range(12)]


def encoded(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "BMP"])
def test_members_of_one_tar_file(kind, tmp_path):
    files = [encoded(image, kind) for image in large_images()]
    expected = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in files]
    path = tmp_path / "photos.tar"
    with tarfile.open(path, "w") as tar:
        for index, data in enumerate(files):
            member = tarfile.TarInfo(f"{index}.img")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    for _ in range(5):
        with tarfile.open(path) as tar:
            opened = [Image.open(tar.extractfile(member)) for member in tar]
            packed = fastnorm.PackedImages.pack(opened)
        for index, pixels in enumerate(expected):
            assert np.array_equal(packed[index].numpy(), pixels), index


def test_only_handles_that_are_known_to_be_private_are_read_on_several_threads(tmp_path, monkeypatch):
    (first, second, third, *_) = large_images()
    first.save(tmp_path / "a.png")
    data, shared = encoded(second, "PNG"), io.BytesIO(encoded(third, "PNG"))
    file = (tmp_path / "a.png").open("rb")
    opened = {
        "path": Image.open(tmp_path / "a.png"),
        "bytes": Image.open(io.BytesIO(data)),
        "shared 1": Image.open(shared),
        "shared 2": Image.open(shared),
        "file": Image.open(file),
        "decoded": first,
    }
    on_threads = []
    run = threads.run

    def observed(jobs):
        on_threads.append(len(jobs))
        return run(jobs)

    monkeypatch.setattr(threads, "run", observed)
    packed = fastnorm.PackedImages.pack(list(opened.values()))
    file.close()
    assert on_threads == [3]  # the path, the bytes of its own, and what is decoded already
    for index, image in enumerate([first, second, third, third, first, first]):
        assert np.array_equal(packed[index].numpy(), np.asarray(image))
