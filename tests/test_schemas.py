"""The shipped JSON Schemas against all that is written: by the code, by a run, and by the examples of the tests."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from runlab import journal, schemas
from runlab.model import JsonObject
from runlab.schemas.generate import TYPES, as_text, generate

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"


def complaints(name: schemas.Name, data: Any) -> list[str]:
    """What the schema has against `data`; of a journal line against the definition of its kind."""
    schema = schemas.load(name)
    if name == "journal" and (definition := schema["discriminator"]["mapping"].get(data.get("kind"))):
        schema = {"$ref": definition, "$defs": schema["$defs"]}
    return [f"{error.json_path}: {error.message}"[:300] for error in Draft202012Validator(schema).iter_errors(data)]


def of_lines(lines: Iterable[JsonObject]) -> list[str]:
    return [f"{line['kind']} {said}" for line in lines for said in complaints("journal", line)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real run: three arms of the smallest laboratory, whose stack is one process."""
    project = tmp_path_factory.mktemp("run") / "project"
    shutil.copytree(DATA / "tiny", project)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "scenarios"]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return project / "reports" / "latest"


# ------------------------------------------------------------------------------------------------ what is written


@pytest.mark.parametrize("name", TYPES)
def test_a_schema_is_one_and_says_what_the_types_say(name: schemas.Name) -> None:
    schema = schemas.load(name)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)
    assert as_text(schema) == as_text(generate(name)), "python -m runlab.schemas"


def test_a_run_writes_what_the_schemas_say(run: Path) -> None:
    lines = journal.read(run / "journal")
    assert {"undo", "witness", "step-end", "command", "recovered", "withheld"} <= {line["kind"] for line in lines}
    assert of_lines(lines) == []
    assert complaints("results", json.loads((run / "results.json").read_text(encoding="utf-8"))) == []


def test_the_examples_are_what_the_schemas_say() -> None:
    assert of_lines(journal.read(DATA / "journal-example")) == []
    assert complaints("results", json.loads((DATA / "results-example.json").read_text(encoding="utf-8"))) == []


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_line_with_a_field_too_many_or_too_few_is_refused(run: Path) -> None:
    of_kind = {line["kind"]: line for line in journal.read(run / "journal")}
    schema = schemas.load("journal")
    for kind, line in of_kind.items():
        assert complaints("journal", {**line, "more_than_is_known": 1}) != [], kind
        definition = schema["$defs"][schema["discriminator"]["mapping"][kind].rpartition("/")[2]]
        for name in definition["required"]:
            assert complaints("journal", {key: value for key, value in line.items() if key != name}) != [], (kind, name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "rumour"},
        {"seq": 0},
        {"seq": "1"},
        {"time": "yesterday"},
        {"holds": "yes"},
        {"arm": 7},
        {"truth": {"pid": 11}},
    ],
)
def test_a_line_with_a_wrong_value_is_refused(run: Path, wrong: JsonObject) -> None:
    witness = next(line for line in journal.read(run / "journal") if line["kind"] == "witness")
    assert complaints("journal", witness) == []
    assert complaints("journal", {**witness, **wrong}) != []


@pytest.mark.parametrize("path", ["run", "environment", "scenarios.0", "claims.0", "claims.0.parts.0", "procedures.0"])
def test_results_with_something_unknown_are_refused(path: str) -> None:
    results = json.loads((DATA / "results-example.json").read_text(encoding="utf-8"))
    place = results
    for step in path.split("."):
        place = place[int(step)] if step.isdigit() else place[step]
    place["more_than_is_known"] = 1
    assert any("more_than_is_known" in said for said in complaints("results", results))


# --------------------------------------------------------------------------------------- what the code can write


def written() -> Iterator[tuple[str, set[str], str]]:
    """Each place of the code that writes a journal line: its kind, the fields that it names, "file:line"."""
    for file in sorted(path for folder in ("runlab", "verifiers") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Call) and (kind := _kind(node)):
                fields = {keyword.arg for keyword in node.keywords if keyword.arg} - {"arm", "durable"}
                yield kind, fields, f"{file.relative_to(ROOT)}:{node.lineno}"


def _kind(call: ast.Call) -> str:
    """The kind that this call writes, be it called at once or handed on to be called later; "" when none."""
    words = [call.func, *call.args]
    for function, first in pairwise(words):
        named = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if named == "write" and isinstance(first, ast.Constant) and re.fullmatch(r"[a-z-]+", str(first.value)):
            return str(first.value)
    return ""


def test_what_the_code_writes_is_described_and_the_other_way_round() -> None:
    schema, places = schemas.load("journal"), list(written())
    mapping = schema["discriminator"]["mapping"]
    assert {kind for kind, _, _ in places} == set(mapping)
    for kind, fields, place in places:
        assert fields <= schema["$defs"][mapping[kind].rpartition("/")[2]]["properties"].keys(), place


def test_the_table_of_events_names_what_is_described() -> None:
    schema = schemas.load("journal")
    rows = dict(re.findall(r"^\| ([a-z-]+) \| (.*) \|$", str(journal.__doc__), re.MULTILINE))
    del rows["kind"]
    mapping = schema["discriminator"]["mapping"]
    assert set(rows) == set(mapping)
    for kind, definition in mapping.items():
        fields = schema["$defs"][definition.rpartition("/")[2]]["properties"].keys() - journal.COMMON
        assert {name for name in fields if not re.search(rf"\b{name}\b", rows[kind])} == set(), kind
