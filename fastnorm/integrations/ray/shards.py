"""Shards: Parquet files that are written elsewhere and appear whole, each with a line in the manifest."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastnorm.integrations.ray.identity import hash_file, hash_ids

FINGERPRINT = b"fastnorm.fingerprint"


class Shard(NamedTuple):
    """A line of the manifest."""

    file: str
    rows: int
    bytes: int
    sha256: str  # of the file
    ids_sha256: str  # of its rows' ids, sorted
    fingerprint: str


def write_shard(folder: Path, fingerprint: str, shapes: Mapping[str, Sequence[int]], table: Any) -> Any:
    """In a worker: write the good rows to `folder` and say what was written, and which rows were not, and why."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    bad = table.filter(pc.not_equal(table["error"], "")).select(["key", "sha256", "error"]).to_pylist()
    good = table.filter(pc.equal(table["error"], ""))
    line = ""
    if len(good):
        good = good.sort_by("id").drop_columns(["error"])
        good = good.append_column("fingerprint", pa.array([fingerprint] * len(good)))
        fields = [
            field.with_metadata({"shape": json.dumps(list(shapes[field.name]))}) if field.name in shapes else field
            for field in good.schema
        ]
        good = good.cast(pa.schema(fields, metadata={FINGERPRINT: fingerprint}))
        path = folder / f"{uuid.uuid4().hex}.parquet"
        with path.open("wb") as file:
            pq.write_table(good, file)
            file.flush()
            os.fsync(file.fileno())
        ids = good["id"].to_pylist()
        line = json.dumps(_shard(path, ids, fingerprint)._asdict())
    return pa.table({"line": [line], "quarantined": [json.dumps(bad)], "rows": [len(table)]})


def shard_of(path: Path) -> Shard:
    """What the manifest's line of a shard says, from the file itself."""
    import pyarrow.parquet as pq

    ids = pq.read_table(path, columns=["id"])["id"].to_pylist()
    return _shard(path, ids, pq.read_schema(path).metadata[FINGERPRINT].decode())


def ids_of(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    found: list[str] = pq.read_table(path, columns=["id"])["id"].to_pylist()
    return found


def _shard(path: Path, ids: Sequence[str], fingerprint: str) -> Shard:
    return Shard(path.name, len(ids), path.stat().st_size, hash_file(path), hash_ids(ids), fingerprint)
