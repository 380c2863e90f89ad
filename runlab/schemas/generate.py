"""From types to JSON Schemas in which nothing may stand that is not described."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from runlab.model import JsonObject
from runlab.reporting.schema import Results
from runlab.schemas import Name
from runlab.schemas.events import Line

TYPES: Mapping[Name, tuple[Any, str]] = {
    "results": (Results, "results.json of a run of the runbook lab, schema 1"),
    "journal": (Line, "One line of a run's journal/*.jsonl, schema 1"),
}


def generate(name: Name) -> JsonObject:
    """The schema as the types have it now."""
    described, title = TYPES[name]
    schema = TypeAdapter(described).json_schema(schema_generator=_Closed)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": title}


def as_text(schema: JsonObject) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


class _Closed(GenerateJsonSchema):
    """Each object has the fields of its type and no others; names of fields are not repeated as titles."""

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> JsonSchemaValue:
        return {**super().typed_dict_schema(schema), "additionalProperties": False}

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 -- pydantic's own signature
        return False
