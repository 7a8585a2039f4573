"""`Prefetcher`: the next batch is copied and preprocessed while the model works on this one."""

from __future__ import annotations

import collections
import copy
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from fastnorm.data.collate import then_preprocess
from fastnorm.images.packed import PackedImages
from fastnorm.ops.preprocess_arguments import resolve_device
from fastnorm.spec.size import at_least

Batch = Mapping[str, Any]


class Prefetcher:
    """An iterator around any loader: every batch comes preprocessed, on its device.

    Example:
        >>> loader = torch.utils.data.DataLoader(
        ...     [{"image": torch.zeros(8, 9, 3).byte(), "id": index} for index in range(3)],
        ...     batch_size=2, collate_fn=fastnorm.collate_images("image"),
        ... )
        >>> preprocess = fastnorm.Preprocess("image", pixel_values=fastnorm.CLIP_224)
        >>> for batch in fastnorm.Prefetcher(loader, preprocess, "cpu"):
        ...     print(batch["id"], batch["pixel_values"].shape)
        tensor([0, 1]) torch.Size([2, 3, 224, 224])
        tensor([2]) torch.Size([1, 3, 224, 224])

    On CUDA the batch after the one in use is copied on a stream of its own and preprocessed there; with
    `pin_memory=True` the loader's copy does not wait. On the CPU the workers of a `DataLoader` preprocess, so that one
    script serves both.

    With accelerate, after `prepare` and `skip_first_batches`: those rebuild the loader, and would drop this.

    Args:
        loader: Anything that yields dictionaries: a `DataLoader`, a `StatefulDataLoader`, WebDataset's.
        preprocess: What is called with each of them: a `Preprocess`.
        device: Where the model is.
        depth: How many batches are prepared ahead on CUDA.

    Raises:
        TypeError, ValueError: Arguments that are none of these.
        Exceptions of the loader and of `preprocess` reach the consumer at the batch that they are about.
    """

    def __init__(
        self,
        loader: Iterable[Batch],
        preprocess: Callable[[Batch], Batch],
        device: torch.device | str,
        *,
        depth: int = 1,
    ) -> None:
        if isinstance(loader, Prefetcher):
            raise TypeError("loader: got a Prefetcher, expected the loader itself, which is preprocessed once")
        if not hasattr(loader, "__iter__"):
            raise TypeError(f"loader: got {type(loader).__name__}, expected something that yields batches")
        if not callable(preprocess):
            raise TypeError(f"preprocess: got {type(preprocess).__name__}, expected a fastnorm.Preprocess")
        self.loader, self.preprocess = loader, preprocess
        self.device = resolve_device(device) or torch.device("cpu")
        self.depth = at_least("depth", depth, 1)
        self._state: Any = None  # the loader's after the batch that was yielded last

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # its own TypeError, where it has no length

    def __iter__(self) -> Iterator[Batch]:
        self._check_prepared()
        if self.device.type != "cuda":
            yield from self._in_workers()
            return
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        ahead = _Ahead(self.loader, functools.partial(_launch, self.preprocess, self.device, stream), self.depth)
        for launched in ahead:
            self._state = ahead.state
            yield _arrived(launched, self.device)

    def state_dict(self) -> Any:  # noqa: ANN401  # whatever the loader's is
        """The loader's state after the batch that was yielded last: what is prepared ahead is not lost by a resume."""
        if self._state is not None:
            return self._state
        return self._of_loader("state_dict")()

    def load_state_dict(self, state: Any) -> None:  # noqa: ANN401
        """Go on where `state_dict` was taken: the loader's own `load_state_dict`."""
        self._of_loader("load_state_dict")(state)
        self._state = None

    def set_epoch(self, epoch: int) -> None:
        """The `set_epoch` of the loader, or of its sampler, or of its dataset."""
        places = [self.loader, *(getattr(self.loader, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
        found = next((place for place in places if hasattr(place, "set_epoch")), None)
        if found is None:
            raise AttributeError(
                f"set_epoch: got a {type(self.loader).__name__} without one, nor has its sampler or dataset"
            )
        found.set_epoch(epoch)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name in ("dataset", "sampler", "batch_sampler"):  # what would be built anew, without the preprocessing
            raise AttributeError(
                f"Prefetcher has no {name}: what rebuilds a loader, such as accelerate's prepare and "
                f"skip_first_batches, is called with the loader itself, and before: Prefetcher(prepare(loader), ...)"
            )
        raise AttributeError(f"Prefetcher has no attribute {name!r}")

    def _of_loader(self, name: str) -> Callable[..., Any]:
        method = getattr(self._source if self.device.type != "cuda" else self.loader, name, None)
        if method is None:
            raise AttributeError(
                f"{name}: got a {type(self.loader).__name__}, which cannot be resumed, expected a loader with "
                f"state_dict, such as torchdata's StatefulDataLoader"
            )
        return method  # type: ignore[no-any-return]

    @functools.cached_property
    def _source(self) -> Iterable[Batch]:
        """On the CPU: a copy of the loader whose workers preprocess, or itself where it has no collate function."""
        if not hasattr(self.loader, "collate_fn"):
            return self.loader
        source = inner = copy.copy(self.loader)
        while hasattr(inner, "base_dataloader"):  # accelerate's, which hold the one that has the workers
            inner.base_dataloader = copy.copy(inner.base_dataloader)
            inner = inner.base_dataloader
        inner.collate_fn = functools.partial(_marked, then_preprocess(inner.collate_fn, self.preprocess))
        return source

    def _in_workers(self) -> Iterator[Batch]:
        for batch in self._source:
            yield dict(batch) if isinstance(batch, _Preprocessed) else self.preprocess(batch)

    def _check_prepared(self) -> None:
        """Refuse a loader that every process of an accelerate run would read whole."""
        state = sys.modules.get("accelerate.state")
        if state is None or getattr(self.loader, "_is_accelerate_prepared", False):
            return
        shared = getattr(state.PartialState, "_shared_state", {})
        if shared.get("num_processes", 1) > 1 and isinstance(self.loader, DataLoader):
            raise RuntimeError(
                f"loader: got one that accelerate has not prepared, in a run of {shared['num_processes']} processes, "
                f"each of which would read all of it; expected Prefetcher(accelerator.prepare(loader), ...)"
            )


class _Preprocessed(dict[str, Any]):
    """A batch that a worker has preprocessed, by which it is known from one that no worker has."""


def _marked(collate: Callable[[Any], Batch], samples: object) -> _Preprocessed:
    return _Preprocessed(collate(samples))


class _Ahead:
    """The results of a function for a loader's batches, `depth` of them computed before they are asked for.

    `state` is the loader's after the batch whose result was given last.
    """

    def __init__(self, loader: Iterable[Batch], launch: Callable[[Batch], Any], depth: int) -> None:
        self.loader, self.launch, self.depth, self.state = loader, launch, depth, None

    def __iter__(self) -> Iterator[Any]:
        waiting: collections.deque[tuple[Any, Exception | None, Any]] = collections.deque()
        batches = iter(self.loader)
        is_over = False
        while True:
            while not is_over and len(waiting) <= self.depth:
                result: Any = None
                error: Exception | None = None
                try:
                    result = self.launch(next(batches))
                except StopIteration:
                    is_over = True
                    break
                except Exception as caught:  # for the consumer, after the batches before
                    error, is_over = caught, True
                waiting.append((result, error, self._loader_state()))
            if not waiting:
                return
            ready, failure, self.state = waiting.popleft()
            if failure is not None:
                raise failure
            yield ready

    def _loader_state(self) -> Any:  # noqa: ANN401
        state = getattr(self.loader, "state_dict", None)
        return None if state is None else copy.deepcopy(state())


class _Launched(NamedTuple):
    batch: Batch
    done: torch.cuda.Event


def _launch(
    preprocess: Callable[[Batch], Batch], device: torch.device, stream: torch.cuda.Stream, batch: Batch
) -> _Launched:
    """Copy and preprocess on a stream of its own, without waiting for it."""
    with torch.cuda.stream(stream):
        ready = _to(preprocess(_to(batch, device)), device)
        return _Launched(ready, stream.record_event())


def _arrived(launched: _Launched, device: torch.device) -> Batch:
    """The batch for the consumer's stream, which waits for it, and whose use keeps the memory from being reused."""
    current = torch.cuda.current_stream(device)
    current.wait_event(launched.done)
    for tensor in _tensors(launched.batch):
        tensor.record_stream(current)
    return launched.batch


def _to(value: Any, device: torch.device) -> Any:  # noqa: ANN401
    """Whatever can be moved, in dictionaries and sequences, on the device."""
    if hasattr(value, "to"):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _to(one, device) for key, one in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_to(one, device) for one in value)
    return value


def _tensors(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.is_cuda:
            yield value
    elif isinstance(value, PackedImages):
        yield from _tensors(value.buffer)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
