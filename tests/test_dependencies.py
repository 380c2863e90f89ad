"""What the code imports is declared and pinned, and CI does what a person does."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from runlab.setup import uv

CHECKOUT = Path(__file__).resolve().parents[1]

OWN = {"runlab", "faults", "verifiers", "sut", "scenarios", "tests"}


def declared() -> set[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    return {canonical(re.split(r"[\[<>=!~; ]", line)[0]) for line in lines}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_packages() -> Iterator[tuple[Path, str]]:
    for folder in sorted(OWN):
        for file in (CHECKOUT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                names: list[str] = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                    names = [node.module]
                yield from ((file, name.split(".")[0]) for name in names)


def test_whatever_is_imported_is_declared() -> None:
    providers = importlib.metadata.packages_distributions()
    known, needed = OWN | {"conftest"} | sys.stdlib_module_names, declared()
    undeclared = {
        f"{file.relative_to(CHECKOUT)}: {name}"
        for file, name in imported_packages()
        if name not in known and not needed & {canonical(provider) for provider in providers.get(name, [name])}
    }
    assert undeclared == set()


def test_the_lock_pins_what_is_declared_with_hashes_and_names_no_host() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text()
    entries = re.split(r"\n(?=\S)", lock.replace("\\\n", ""))
    pins = {canonical(entry.split("==")[0]) for entry in entries if "==" in entry}
    assert declared() <= pins
    assert all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    assert "://" not in lock + uv.PIN.read_text()
    assert "--index" not in lock


def test_ci_runs_make_test() -> None:
    script = CHECKOUT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text().splitlines()[-1] == "exec make test"
