"""The output folder: its settings, its manifest and what is wrong with it; one process at a time writes.

| file | what it holds |
|---|---|
| dataset.json | the settings behind each fingerprint |
| shards/ | Parquet files, each complete |
| manifest.jsonl | a line for each shard |
| quarantine.jsonl | a line for each image that could not be encoded |
| samples.json | images for the report, of the latest run that has encoded something |
| items.parquet | the images of the latest source, with their hashes |
| unfinished/ | what workers are writing; emptied by the next run |
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastnorm.data.text import printable
from fastnorm.integrations.ray import items
from fastnorm.integrations.ray.identity import hash_file, hash_ids, item_id
from fastnorm.integrations.ray.shards import Shard, ids_of, shard_of

SETTINGS, MANIFEST, QUARANTINE, ITEMS = "dataset.json", "manifest.jsonl", "quarantine.jsonl", "items.parquet"
SAMPLES = "samples.json"
SHARDS, UNFINISHED, LOCK = "shards", "unfinished", "lock"
_FORMAT = 1


class Output:
    """The folder, opened by the one run that writes into it."""

    def __init__(self, path: Path, fingerprint: str, settings: Mapping[str, Any], add: bool) -> None:
        """Make the folder or look at what is there.

        Raises:
            PermissionError, ValueError: A folder that cannot be written, or holds something else, or rows of other
                settings, or that another run is writing.
        """
        self.path, self.fingerprint = path, fingerprint
        self._check(add)
        try:
            (path / SHARDS).mkdir(parents=True, exist_ok=True)
            self._lock = (path / LOCK).open("w")
        except OSError as error:
            raise PermissionError(
                f"{printable(str(path))}: got {error.strerror!r}, expected a folder that can be written; check the "
                f"permissions, or name another"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # which ends with the process, however that ends
        except OSError:
            self._lock.close()
            raise ValueError(
                f"{printable(str(path))}: another run is writing into it; wait until it has ended"
            ) from None
        known = _settings(path)
        if fingerprint not in known:
            _replace(
                path / SETTINGS, json.dumps({"format": _FORMAT, "settings": {**known, fingerprint: settings}}, indent=1)
            )
        self._recover()
        self._quarantined = set(map(_bad_item, read_quarantine(path)))
        self.unfinished = path / UNFINISHED / uuid.uuid4().hex
        self.unfinished.mkdir(parents=True)

    def close(self) -> None:
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
        self._lock.close()

    def done(self) -> set[str]:
        """The ids of this fingerprint that need no work: in shards, or known not to be encodable."""
        shards = [shard for shard in read_manifest(self.path) if shard.fingerprint == self.fingerprint]
        ids = {one for shard in shards for one in ids_of(self.path / SHARDS / shard.file)}
        bad = (line["sha256"] for line in read_quarantine(self.path) if line["fingerprint"] == self.fingerprint)
        return ids | {item_id(sha256, self.fingerprint) for sha256 in bad if sha256 is not None}

    def commit(self, line: str) -> Shard:
        """Make a shard that a worker has written a part of the data set."""
        shard = Shard(**json.loads(line))
        final = f"{shard.ids_sha256[:32]}.parquet"
        os.replace(self.unfinished / shard.file, self.path / SHARDS / final)  # noqa: PTH105
        _sync_folder(self.path / SHARDS)
        shard = shard._replace(file=final)
        _append(self.path / MANIFEST, [shard._asdict()])
        return shard

    def quarantine(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Bad items with the reason, once each."""
        new = [{**line, "fingerprint": self.fingerprint} for line in lines]
        new = [line for line in new if _bad_item(line) not in self._quarantined]
        _append(self.path / QUARANTINE, new)
        self._quarantined.update(map(_bad_item, new))

    def _check(self, add: bool) -> None:
        shown = printable(str(self.path))
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"{shown}: got a file, expected a folder for the output, or a name for a new one")
        if not self.path.is_dir():
            return
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise PermissionError(f"{shown}: got no permission to write, expected one; name another folder")
        known = _settings(self.path)
        if not known and any(one.name not in (SHARDS, LOCK) for one in self.path.iterdir()):
            raise ValueError(f"{shown}: got a folder with other files in it, expected an empty one or one of encode's")
        if known and self.fingerprint not in known and not add:
            raise ValueError(
                f"{shown}: got rows that were encoded with other settings (fingerprint {next(iter(known))[:16]}, this "
                f"run's is {self.fingerprint[:16]}), expected an empty folder; to keep both side by side: --add"
            )

    def _recover(self) -> None:
        """After a run that was killed: nothing unfinished, every shard listed, every listed shard there."""
        shutil.rmtree(self.path / UNFINISHED, ignore_errors=True)
        files = {path.name for path in (self.path / SHARDS).glob("*.parquet")}
        listed = [shard for shard in read_manifest(self.path) if shard.file in files]
        # They were moved here, but their line was not written.
        unlisted = [shard_of(self.path / SHARDS / name) for name in sorted(files - {shard.file for shard in listed})]
        text = "".join(json.dumps(shard._asdict()) + "\n" for shard in [*listed, *unlisted])
        if text != _text(self.path / MANIFEST):
            _replace(self.path / MANIFEST, text)
        bad = "".join(json.dumps(line) + "\n" for line in read_quarantine(self.path))
        if bad != _text(self.path / QUARANTINE):
            _replace(self.path / QUARANTINE, bad)


# ---- reading


def read_manifest(path: Path) -> list[Shard]:
    return [Shard(**line) for line in _lines(path / MANIFEST)]


def read_quarantine(path: Path) -> list[dict[str, Any]]:
    return _lines(path / QUARANTINE)


@dataclass(frozen=True)
class Status:
    """Counts of an output folder, of the settings of one fingerprint and the images of its latest source."""

    fingerprint: str
    items: int
    unique: int
    shards: int
    rows: int
    bytes: int
    bad: int
    missing: int


def status(output: str | Path) -> list[Status]:
    """Count what is there, for each fingerprint; nothing is hashed.

    Raises:
        ValueError: A folder that `encode` has not made.
    """
    path = _checked(Path(output))
    manifest, quarantined = read_manifest(path), read_quarantine(path)
    known = [item for item, _ in items.load(path / ITEMS)]
    hashes = {item.sha256 for item in known if item.sha256 is not None}
    found = []
    for fingerprint in _settings(path):
        shards = [shard for shard in manifest if shard.fingerprint == fingerprint]
        bad = [line for line in quarantined if line["fingerprint"] == fingerprint]
        present = [shard for shard in shards if (path / SHARDS / shard.file).exists()]
        done = {one for shard in present for one in ids_of(path / SHARDS / shard.file)}
        done |= {item_id(line["sha256"], fingerprint) for line in bad if line["sha256"] is not None}
        missing = sum(item_id(sha256, fingerprint) not in done for sha256 in hashes)
        rows, size = sum(shard.rows for shard in shards), sum(shard.bytes for shard in shards)
        found.append(Status(fingerprint, len(known), len(hashes), len(shards), rows, size, len(bad), missing))
    return found


def verify(output: str | Path) -> list[str]:
    """Count and hash every shard again; a line for each thing that is wrong, none where all is well.

    Raises:
        ValueError: A folder that `encode` has not made.
    """
    path = _checked(Path(output))
    manifest = read_manifest(path)
    problems: list[str] = []
    seen: dict[str, str] = {}
    for shard in manifest:
        file = path / SHARDS / shard.file
        if not file.exists():
            problems.append(f"{shard.file}: in the manifest, but not there; run encode again to make its rows")
            continue
        if hash_file(file) != shard.sha256:
            problems.append(f"{shard.file}: its bytes have changed; delete it and run encode again")
            continue
        ids = ids_of(file)
        if len(ids) != shard.rows or hash_ids(ids) != shard.ids_sha256:
            problems.append(f"{shard.file}: holds {len(ids)} rows, expected the {shard.rows} of the manifest")
        twice = [one for one in ids if seen.setdefault(one, shard.file) != shard.file]
        if twice or len(set(ids)) != len(ids):
            problems.append(f"{shard.file}: holds rows that are there already, such as {(twice or ids)[0]}")
    listed = {shard.file for shard in manifest}
    unlisted = sorted({file.name for file in (path / SHARDS).glob("*.parquet")} - listed)
    return problems + [f"{name}: not in the manifest; run encode again, which lists it" for name in unlisted]


def _checked(path: Path) -> Path:
    if not _settings(path):
        raise ValueError(f"{printable(str(path))}: got a folder without {SETTINGS}, expected one that encode has made")
    return path


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        return {}
    except ValueError as error:
        raise ValueError(f"{printable(str(path / SETTINGS))}: cannot be read ({error})") from None
    settings: dict[str, Any] = found["settings"]
    return settings


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file to which lines are added; the last may be cut off."""
    return [json.loads(line) for line in _text(path).split("\n")[:-1] if line]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


# ---- writing


def _bad_item(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["key"], line["sha256"], line["fingerprint"]


def _append(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    if not text:
        return
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        if path.exists():
            os.truncate(path, before)  # half a line is worse than none
        raise


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)  # noqa: PTH105
    _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
