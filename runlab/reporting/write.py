"""Writes a run's reports into its folder. Each file appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from runlab.model import JsonObject, LabError
from runlab.reporting.junit import junit
from runlab.reporting.page import page
from runlab.reporting.schema import whole
from runlab.reporting.summary import summary


def write_all(results: JsonObject, events: Sequence[JsonObject], folder: Path) -> None:
    """results.json, junit.xml, summary.md and index.html of one run, from its results and its journal.

    Existing ones are replaced. `reports/latest` is not touched; see `point_latest`. Raises LabError when `folder`
    cannot be written.
    """
    r = whole(results)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / "results.json", _pretty(results))
        _replace(folder / "junit.xml", junit(r))
        _replace(folder / "summary.md", summary(r).encode())
        _replace(folder / "index.html", page(r, events).encode())
    except OSError as error:
        raise _unwritable(folder, error) from None


def point_latest(folder: Path) -> None:
    """Make `latest`, beside the run's folder, a relative link to it. Raises LabError when it cannot."""
    link, fresh = folder.parent / "latest", folder.parent / f".latest-{os.getpid()}"
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.name)
        fresh.replace(link)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise _unwritable(link, error) from None


def _pretty(results: JsonObject) -> bytes:
    """JSON as UTF-8; half a surrogate pair, which UTF-8 can't hold, stays the escape that it was."""
    return (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> LabError:
    return LabError(f"can't be written: {error.strerror}", where=str(path), mend="make it writable or name another")
