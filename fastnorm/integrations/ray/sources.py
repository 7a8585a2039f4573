"""Where images come from: which files a source has, which images are in each, and an image's bytes by its place.

| kind | a file of it | the place of an image in it |
|---|---|---|
| folder | an image | none |
| tar | a tar of WebDataset, not compressed | offset and length of the member |
| parquet | a Parquet file with a column of bytes, or of `datasets`' images | row group, row |
| datasets | an Arrow file of `Dataset.save_to_disk` | record batch, row |

Bytes are read and hashed here, never decoded: what is damaged costs its own row.
"""

from __future__ import annotations

import functools
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fastnorm.data.files import IMAGE_SUFFIXES
from fastnorm.data.text import one_line, printable
from fastnorm.integrations.ray.identity import hash_bytes

Kind = Literal["folder", "tar", "parquet", "datasets"]
_COLUMNS = ("image", "jpg", "png", "webp", "bytes")  # where images are looked for, in this order
_KINDS: dict[str, Kind] = {".tar": "tar", ".parquet": "parquet", **dict.fromkeys(IMAGE_SUFFIXES, "folder")}


class Item(NamedTuple):
    """One image: where it is, what it is called, and the hash of its bytes; or why there are none."""

    file: str
    place: int
    row: int
    key: str
    sha256: str | None
    size: int
    error: str | None


@dataclass(frozen=True)
class Source:
    """Files of one kind, sorted; `column` holds the images of tables."""

    kind: Kind
    root: Path
    files: tuple[str, ...]
    column: str | None = None


def open_source(path: Path, column: str | None = None) -> Source:
    """Look what is there, and read nothing but a table's column names.

    Raises:
        FileNotFoundError, PermissionError, ValueError: Nothing there, nothing that may be read, no images, several
            kinds.
    """
    shown = printable(str(path))
    if not path.exists():
        raise FileNotFoundError(f"{shown}: got no such file or folder, expected images; check the path")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise PermissionError(f"{shown}: got no permission to read it, expected one; check the permissions")
    root = path.absolute()
    if (root / "dataset_dict.json").is_file():
        splits = json.loads((root / "dataset_dict.json").read_text())["splits"]
        raise ValueError(f"{shown}: got a DatasetDict, expected one of its splits: {path / splits[0]}")
    if (root / "state.json").is_file():
        names = [one["filename"] for one in json.loads((root / "state.json").read_text())["_data_files"]]
        source = Source("datasets", root, tuple(str(root / name) for name in names))
    else:
        source = _of_files(root, shown)
    if source.kind not in ("parquet", "datasets"):
        if column is not None:
            raise ValueError(f"column: got {column!r} for {shown}, which has no columns; omit it")
        return source
    return Source(source.kind, root, source.files, _image_column(source, column, shown))


def _of_files(root: Path, shown: str) -> Source:
    by_kind: dict[Kind, list[str]] = {}
    unreadable: list[OSError] = []
    if root.is_file():
        walked: Iterator[tuple[str, list[str], list[str]]] = iter([(str(root.parent), [], [root.name])])
    else:
        walked = os.walk(root, onerror=unreadable.append)
    for parent, folders, names in walked:
        folders.sort()
        for name in sorted(names):
            kind = _KINDS.get(os.path.splitext(name)[1].lower())  # noqa: PTH122  # as many Paths would take long
            if kind is not None:
                by_kind.setdefault(kind, []).append(f"{parent}/{name}")
    if unreadable:
        where = printable(str(unreadable[0].filename))
        raise PermissionError(f"{where}: got {unreadable[0].strerror!r}, expected a folder that can be listed")
    if not by_kind:
        raise ValueError(
            f"{shown}: got no images, expected a folder of image files, tars of WebDataset, Parquet files, or a folder "
            f"of datasets' save_to_disk"
        )
    if len(by_kind) > 1:
        counts = ", ".join(f"{len(files)} of kind {kind!r}" for kind, files in by_kind.items())
        raise ValueError(f"{shown}: got mixed sources ({counts}), expected one kind; encode one folder after the other")
    ((kind, files),) = by_kind.items()
    return Source(kind, root, tuple(files))


def _image_column(source: Source, column: str | None, shown: str) -> str:
    import pyarrow as pa

    if not source.files:
        raise ValueError(f"{shown}: got an empty data set, expected images")
    try:
        schema = _open_table(source.kind, source.files[0])[0]
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{printable(source.files[0])}: cannot be read ({one_line(str(error))})") from None
    names = [column] if column is not None else [name for name in _COLUMNS if name in schema.names]
    for name in names:
        if name in schema.names and _holds_bytes(schema.field(name).type):
            return name
    raise ValueError(
        f"column: got {column!r} for {shown}, expected the column of the encoded images; its columns: "
        f"{', '.join(f'{field.name} ({field.type})' for field in schema)}"
    )


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):  # an image of `datasets`: its bytes, or a path
        return "bytes" in [field.name for field in kind]
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


# ---- what is in a file


def scan(source: Source, file: str) -> Iterator[Item]:
    """Every image of a file, in order; what cannot be read is an item too, with the reason."""
    key = _key(source, file)
    try:
        if source.kind == "folder":
            yield _item(file, 0, 0, key, Path(file).read_bytes())
        elif source.kind == "tar":
            yield from _scan_tar(file, key)
        else:
            yield from _scan_table(source, file, key)
    except Exception as error:  # whatever the parsers of archives raise; what came before is kept
        yield Item(file, -1, -1, key, None, 0, f"cannot be read ({_reason(error)})")


def _scan_tar(file: str, key: str) -> Iterator[Item]:
    with tarfile.open(file, "r:") as tar:
        for member in tar:
            if member.isfile() and member.name.lower().endswith(IMAGE_SUFFIXES):
                reader = tar.extractfile(member)
                data = reader.read() if reader is not None else b""
                yield _item(file, member.offset_data, member.size, f"{key}/{member.name}", data)


def _scan_table(source: Source, file: str, key: str) -> Iterator[Item]:
    _, groups, read = _open_table(source.kind, file, source.column)
    count = 0
    for group in range(groups):
        for row, value in enumerate(read(group)):
            data = _bytes_of(value)
            name = f"{key}#{count}"
            if data is None:
                yield Item(file, group, row, name, None, 0, "has no bytes, and no path to a file that can be read")
            else:
                yield _item(file, group, row, name, data)
            count += 1


def _item(file: str, place: int, row: int, key: str, data: bytes) -> Item:
    return Item(file, place, row, key, hash_bytes(data), len(data), None)


def _key(source: Source, file: str) -> str:
    base = source.root.parent if source.root.is_file() else source.root
    return os.fsencode(os.path.relpath(file, base)).decode("utf-8", "backslashreplace")


# ---- bytes by their place


def read(kind: Kind, column: str | None, places: Iterable[tuple[str, int, int]]) -> Iterator[bytes | str]:
    """The bytes at each (file, place, row), one after the other; a string says why there are none."""
    part = functools.lru_cache(maxsize=1)(lambda file, place: _open_table(kind, file, column)[2](place))
    for file, place, row in places:
        try:
            if kind == "folder":
                found = Path(file).read_bytes()
            elif kind == "tar":
                with Path(file).open("rb") as tar:
                    tar.seek(place)
                    found = tar.read(row)
            else:
                found = _bytes_of(part(file, place)[row]) or b""
        except Exception as error:  # noqa: PERF203  # as in scan
            yield f"cannot be read ({_reason(error)})"
        else:
            yield found


def _open_table(kind: Kind, file: str, column: str | None = None) -> tuple[Any, int, Any]:
    """Its schema, the number of its parts, and a function from a part's number to the column's values."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "parquet":
        parquet = pq.ParquetFile(file)
        return (
            parquet.schema_arrow,
            parquet.num_row_groups,
            lambda group: parquet.read_row_group(group, columns=[column])[column],
        )
    batches = pa.ipc.open_stream(pa.memory_map(file))
    if column is None:
        return batches.schema, 0, None
    every = list(batches)  # mapped, not read
    return batches.schema, len(every), lambda group: every[group][column]


def _bytes_of(value: Any) -> bytes | None:
    one = value.as_py()
    if isinstance(one, dict):
        if one["bytes"] is None and one.get("path"):
            return Path(one["path"]).read_bytes()
        one = one["bytes"]
    return one if one is None else bytes(one)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or one_line(str(error)) or type(error).__name__
