"""Large CPU outputs: memory is used again only after its tensors are gone, and what lies idle is bounded."""

import errno
import gc
import mmap
import pickle
import threading

import pytest
import torch

import fastnorm
from fastnorm import CLIP, VAE
from fastnorm.memory import host_cache
from helpers import assert_same_bits, random_pixels

pytestmark = pytest.mark.compat

SHAPE = (3, 1024, 1024)  # 12 MiB as float32


@pytest.fixture(autouse=True)
def nothing_idle():
    gc.collect()
    fastnorm.empty_host_cache()
    yield
    fastnorm.set_host_cache_limit()
    fastnorm.empty_host_cache()


def make():
    return host_cache.empty(SHAPE, torch.float32)


def test_memory_is_used_again_after_its_tensor_is_gone():
    first = make()
    address = first.data_ptr()
    assert make().data_ptr() != address  # while it lives
    fastnorm.empty_host_cache()
    del first
    assert host_cache.idle_bytes() == 12 << 20
    assert make().data_ptr() == address


def test_a_view_keeps_the_memory():
    view = make()[0, :5]
    view.fill_(7)
    others = [make() for _ in range(3)]
    for other in others:
        other.fill_(1)
    assert bool((view == 7).all())
    assert host_cache.idle_bytes() == 0


def test_a_saved_tensor_keeps_the_memory_until_backward():
    weight = torch.ones(SHAPE, requires_grad=True)
    product = weight * make().fill_(3.0)
    make().fill_(0.0)
    product.sum().backward()
    assert bool((weight.grad == 3).all())


def test_idle_memory_is_bounded():
    fastnorm.set_host_cache_limit(30 << 20)
    tensors = [make() for _ in range(5)]
    del tensors
    assert host_cache.idle_bytes() == 24 << 20


def test_sizes_that_are_no_longer_asked_for_make_room():
    fastnorm.set_host_cache_limit(30 << 20)
    old = [make(), make()]
    del old
    new = host_cache.empty((10 << 20,), torch.float16)
    address = new.data_ptr()
    del new
    assert host_cache.idle_bytes() == 20 << 20
    assert host_cache.empty((10 << 20,), torch.float16).data_ptr() == address


def test_a_block_larger_than_the_limit_is_given_back_and_drives_nothing_out():
    fastnorm.set_host_cache_limit(20 << 20)
    kept, large = make(), host_cache.empty((21 << 20,), torch.uint8)
    del kept
    del large
    assert host_cache.idle_bytes() == 12 << 20


def test_a_lower_limit_gives_idle_memory_back_at_once():
    tensors = [make() for _ in range(3)]
    del tensors
    fastnorm.set_host_cache_limit(15 << 20)
    assert host_cache.idle_bytes() == 12 << 20
    fastnorm.set_host_cache_limit(0)
    assert host_cache.idle_bytes() == 0
    kept = make()
    del kept
    assert host_cache.idle_bytes() == 0


@pytest.mark.parametrize(("limit", "error"), [(-1, ValueError), (1.5, TypeError), ("1G", TypeError)])
def test_a_limit_is_a_whole_number_of_bytes(limit, error):
    with pytest.raises(error, match=r"n_bytes: got .*, expected"):
        fastnorm.set_host_cache_limit(limit)


class NoHugePages(mmap.mmap):
    def madvise(self, *_):
        raise OSError(errno.EINVAL, "Invalid argument")  # as by kernels that were built without them


def test_a_kernel_without_huge_pages(monkeypatch):
    monkeypatch.setattr(mmap, "mmap", NoHugePages)
    assert bool((make().fill_(3) == 3).all())


def test_idle_memory_is_given_back_where_new_memory_cannot_be_had(monkeypatch):
    idle = [make() for _ in range(2)]
    del idle
    allocate = mmap.mmap

    def allocate_if_none_is_idle(*arguments, **options):
        if host_cache.idle_bytes():
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return allocate(*arguments, **options)

    monkeypatch.setattr(mmap, "mmap", allocate_if_none_is_idle)
    large = host_cache.empty((13 << 20,), torch.uint8)
    assert len(large) == 13 << 20


def test_no_memory_is_the_error_that_torch_raises(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    with pytest.raises(RuntimeError, match=r"12,582,912 bytes"):
        make()


def test_small_outputs_are_torch_s_own():
    make_small = host_cache.empty((3, 64, 64), torch.float16)
    assert make_small.untyped_storage().resizable()
    del make_small
    assert host_cache.idle_bytes() == 0


def test_earlier_results_survive_later_calls():
    batches = [random_pixels(2, 1200, 1000, 3, seed=seed) for seed in range(4)]
    results = [fastnorm.fused_dual_normalize(batch) for batch in batches]
    for batch, result in zip(batches, results, strict=True):
        for got, expected in zip(result, fastnorm.reference.normalize(batch, [VAE, CLIP]), strict=True):
            assert_same_bits(got, expected)


def test_recycled_memory_is_written_in_full():
    first = random_pixels(2, 1200, 1000, 3, seed=1)
    second = random_pixels(2, 1200, 1000, 3, seed=2)
    for output in fastnorm.fused_dual_normalize(first):
        output.fill_(float("nan"))
    del output
    assert host_cache.idle_bytes() > 0
    for got, expected in zip(
        fastnorm.fused_dual_normalize(second), fastnorm.reference.normalize(second, [VAE, CLIP]), strict=True
    ):
        assert_same_bits(got, expected)


def test_tensors_pickle_and_move_to_shared_memory():
    tensor = make().fill_(2.0)
    assert torch.equal(pickle.loads(pickle.dumps(tensor)), tensor)
    shared = make().fill_(5.0).share_memory_()
    assert shared.is_shared()
    assert bool((shared == 5).all())


class IdleBytes(torch.utils.data.Dataset):
    """What a process has idle at first, and once an output is gone."""

    def __len__(self):
        return 1

    def __getitem__(self, _):
        before = host_cache.idle_bytes()
        make()
        gc.collect()
        return torch.tensor([before, host_cache.idle_bytes()])


def idle_in_workers(**options):
    (found,) = torch.utils.data.DataLoader(IdleBytes(), num_workers=1, multiprocessing_context="fork", **options)
    return found[0].tolist()


def test_a_loader_s_workers_keep_nothing():
    assert IdleBytes()[0].tolist() == [0, 12 << 20]
    fastnorm.set_host_cache_limit(100 << 20)  # of this process, which workers are forked from
    assert idle_in_workers() == [0, 0]
    assert host_cache.idle_bytes() == 12 << 20


def test_a_loader_s_workers_can_set_a_limit_of_their_own():
    kept = [make(), make()]
    del kept
    own_limit = {"worker_init_fn": lambda _: fastnorm.set_host_cache_limit(100 << 20)}
    assert idle_in_workers(**own_limit) == [0, 12 << 20]  # not the parent's


def test_eight_threads():
    wrong = []

    def work(value):
        for _ in range(20):
            tensor = make().fill_(value)
            if not bool((tensor == value).all()):
                wrong.append(value)

    workers = [threading.Thread(target=work, args=(float(value),)) for value in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
