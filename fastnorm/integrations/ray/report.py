"""The report of a run, as Markdown and as one HTML page: counts, speed, sizes, samples, what could not be encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnorm.integrations.ray.job import Summary
    from fastnorm.integrations.ray.samples import Sample

_TEMPLATES = Path(__file__).parent
_SHOWN = 1000  # bad items; all of them are in the quarantine


def write_report(
    folder: Path,
    summary: Summary,
    settings: Mapping[str, Any],
    bad: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
) -> None:
    """`report.md` and `report.html` in the output folder."""
    import jinja2

    for name, escaped in (("report.md", False), ("report.html", True)):
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_TEMPLATES),
            autoescape=escaped,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        text = environment.get_template(f"{name}.j2").render(
            summary=summary,
            settings=settings,
            bad=bad[:_SHOWN],
            more=max(0, len(bad) - _SHOWN),
            rows=_rows(summary),
            samples=samples,
        )
        (folder / name).write_text(text, encoding="utf-8")


def _rows(summary: Summary) -> list[tuple[str, str]]:
    speed = summary.encoded / summary.seconds if summary.seconds else 0.0
    shown = f"{speed:,.0f}" if speed >= 100 else f"{speed:.2g}"
    return [
        ("images in the source", f"{summary.items:,}"),
        ("with different bytes", f"{summary.unique:,}"),
        ("already there", f"{summary.before:,}"),
        ("encoded by this run", f"{summary.encoded:,}"),
        ("not encodable", f"{summary.bad:,}"),
        ("shards written", f"{summary.shards:,}, {summary.bytes / 1e6:,.1f} MB"),
        ("time", f"{summary.seconds:,.1f} s, {shown} images/s, with everything that begins and ends a run"),
        ("fingerprint", summary.fingerprint),
    ]
