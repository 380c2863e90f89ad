"""Programs that are only a file, for the tests of what finds them."""

from __future__ import annotations

from pathlib import Path


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path
