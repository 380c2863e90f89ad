"""Write the schemas again after a change of the types: `python -m runlab.schemas`."""

from __future__ import annotations

from pathlib import Path

from runlab.schemas.generate import TYPES, as_text, generate

for name in TYPES:
    (Path(__file__).parent / f"{name}.json").write_text(as_text(generate(name)), encoding="utf-8")
