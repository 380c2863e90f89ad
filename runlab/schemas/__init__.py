"""JSON Schemas (draft 2020-12) of what a run leaves, for whoever reads it without this package.

`results.json` describes results.json, `journal.json` one line of journal/*.jsonl. Both are made of the types in
runlab/reporting/schema.py and runlab/schemas/events.py: after a change there, `python -m runlab.schemas` writes them
again.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Literal

from runlab.model import JsonObject

Name = Literal["results", "journal"]


def load(name: Name) -> JsonObject:
    """The schema as it is shipped."""
    schema: JsonObject = json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return schema
