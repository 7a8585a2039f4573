"""The table of a source's images: each key with the hash of its bytes, so that a second run need not read them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastnorm.integrations.ray.engine import TASK_RETRIES, blocks, bounded_retries
from fastnorm.integrations.ray.sources import Item, Source, scan

_PER_TASK = {"folder": 256}  # files that a task hashes; an archive takes a task of its own
_SAVE_EVERY = 300  # seconds of hashing that a killed run loses at most
Stamp = tuple[int, int]


def stamps(source: Source) -> dict[str, Stamp | None]:
    """Each file's size and time of change; None for one that cannot be looked at."""
    found: dict[str, Stamp | None] = {}
    for file in source.files:
        try:
            stat = os.stat(file)  # noqa: PTH116
            found[file] = stat.st_size, stat.st_mtime_ns
        except OSError:  # noqa: PERF203
            found[file] = None
    return found


def gather(
    source: Source, table: Path, start_ray: Callable[[], None], rehash: bool, show: Callable[[int], None]
) -> list[Item]:
    """All images of the source, in its order; files that have not changed since the table was written are not read.

    What could not be read then is tried again.
    """
    now = stamps(source)
    known: dict[str, list[Item]] = {}
    for item, stamp in [] if rehash else load(table):
        if stamp == now.get(item.file) and stamp is not None:
            known.setdefault(item.file, []).append(item)
    known = {file: items for file, items in known.items() if all(item.error is None for item in items)}
    new = [file for file in source.files if file not in known]
    if not new:
        return _in_order(source, known)
    start_ray()
    saved = time.monotonic()
    for whole in _scan_with_ray(source, new, show):
        known |= whole
        if time.monotonic() - saved > _SAVE_EVERY:
            save(table, _in_order(source, known), now)
            saved = time.monotonic()
    found = _in_order(source, known)
    save(table, found, now)
    return found


def _in_order(source: Source, known: Mapping[str, Sequence[Item]]) -> list[Item]:
    return [item for file in source.files for item in sorted(known.get(file, []), key=_in_file)]


def _in_file(item: Item) -> tuple[int, int]:
    return (item.place, item.row) if item.error is None else (1 << 62, item.row)


def _scan_with_ray(
    source: Source, files: Sequence[str], show: Callable[[int], None]
) -> Iterable[dict[str, list[Item]]]:
    """The images of whole files, as they come: what Ray gives at once may end within a large archive."""
    import ray

    per_task = _PER_TASK.get(source.kind, 1)
    rows = [{"file": os.fsencode(file)} for file in files]
    with bounded_retries():
        hashed = ray.data.from_items(rows, override_num_blocks=blocks(len(rows), per_task)).map_batches(
            partial(_scan_batch, Source(source.kind, source.root, (), source.column)),
            batch_size=per_task,
            batch_format="pyarrow",
            max_retries=TASK_RETRIES,
        )
    done = 0
    pieces: dict[str, list[Item]] = {}
    for batch in hashed.iter_batches(batch_size=None, batch_format="pyarrow"):
        whole = {}
        for row in batch.to_pylist():
            last = row.pop("last")
            item = Item(**{**row, "file": os.fsdecode(row["file"])})
            pieces.setdefault(item.file, []).append(item)
            if last:
                whole[item.file] = pieces.pop(item.file)
        yield whole
        done += len(batch)
        show(done)


def _scan_batch(source: Source, batch: Any) -> Any:
    import pyarrow as pa

    rows = []
    for file in batch["file"].to_pylist():
        of_file = [{**_row(item), "last": False} for item in scan(source, os.fsdecode(file))]
        rows += of_file[:-1] + [{**one, "last": True} for one in of_file[-1:]]
    return pa.Table.from_pylist(rows, schema=_schema(("last", pa.bool_())))


def _row(item: Item) -> dict[str, Any]:
    return {**item._asdict(), "file": os.fsencode(item.file)}


def _schema(*more: Any) -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("file", pa.binary()),
            ("place", pa.int64()),
            ("row", pa.int64()),
            ("key", pa.string()),
            ("sha256", pa.string()),
            ("size", pa.int64()),
            ("error", pa.string()),
            *more,
        ]
    )


def save(table: Path, items: Iterable[Item], now: dict[str, Stamp | None]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for item in items:
        size, changed = now[item.file] or (-1, -1)
        rows.append({**_row(item), "file_size": size, "file_changed_ns": changed})
    schema = _schema(("file_size", pa.int64()), ("file_changed_ns", pa.int64()))
    unfinished = table.with_name(f".{table.name}.unfinished")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), unfinished)
    os.replace(unfinished, table)  # noqa: PTH105


def load(table: Path) -> list[tuple[Item, Stamp]]:
    """What `save` wrote; nothing where there is no table."""
    import pyarrow.parquet as pq

    if not table.exists():
        return []
    found = []
    for row in pq.read_table(table).to_pylist():
        stamp = row.pop("file_size"), row.pop("file_changed_ns")
        found.append((Item(**{**row, "file": os.fsdecode(row["file"])}), stamp))
    return found
