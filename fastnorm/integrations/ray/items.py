"""The table of a source's images: each key with the hash of its bytes, so that a second run need not read them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastnorm.integrations.ray.engine import TASK_RETRIES, blocks, bounded_retries
from fastnorm.integrations.ray.sources import Item, Source, scan

_PER_TASK = {"folder": 256}  # files that a task hashes; an archive takes a task of its own
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
    if new:
        start_ray()
        for item in _scan_with_ray(source, new, show):
            known.setdefault(item.file, []).append(item)
    items = [item for file in source.files for item in sorted(known.get(file, []), key=_in_file)]
    if new:
        save(table, items, now)
    return items


def _in_file(item: Item) -> tuple[int, int]:
    return (item.place, item.row) if item.error is None else (1 << 62, item.row)


def _scan_with_ray(source: Source, files: Sequence[str], show: Callable[[int], None]) -> Iterable[Item]:
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
    for batch in hashed.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in batch.to_pylist():
            yield Item(**{**row, "file": os.fsdecode(row["file"])})
        done += len(batch)
        show(done)


def _scan_batch(source: Source, batch: Any) -> Any:
    import pyarrow as pa

    found = [item for file in batch["file"].to_pylist() for item in scan(source, os.fsdecode(file))]
    return pa.Table.from_pylist([_row(item) for item in found], schema=_schema())


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
