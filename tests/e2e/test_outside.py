"""A team outside this repository: the wheel installed, own runbooks, faults, rules and scenarios, and nothing forked.

Its project is docs/example, which the two guides in docs/ print whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from runlab import journal, schemas

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "docs" / "example"
GUIDES = ("writing-a-scenario.md", "writing-a-fault.md")
BLOCK = re.compile(r"^`([\w./-]+)`\n+```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A code block of a guide, below a line that holds nothing but the name of its file."""

VERDICTS = {
    "RB-009/detect/alerts/1": "confirmed",
    "RB-009/detect/what-users-notice/1": "confirmed",
    "RB-009/cause/uncommitted-change": "confirmed",
    "RB-009/recover/immediate-actions/1": "confirmed",
    "RB-009/recover/immediate-actions/2": "confirmed",
    "RB-009/recover/immediate-actions/3": "manual",
    "RB-009/prevent/time-limit": "confirmed",
}


@dataclass(frozen=True)
class Outside:
    """A folder elsewhere, with a Python of its own in which the lab is installed."""

    python: Path
    project: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """This Python with these arguments in the project's folder, which `-P` does not make importable."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        return subprocess.run(
            [str(self.python), "-P", *arguments],
            cwd=self.project,
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """Built offline: what the lab itself needs is taken from the Python that runs this test, the lab is not.

    The folder can be read by everybody, as the stack's services run by this Python under an account of their own.
    """
    folder = Path(tempfile.mkdtemp(prefix="outside-team-"))
    folder.chmod(0o755)
    try:
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
        venv.create(folder / "venv", symlinks=True)
        python = folder / "venv" / "bin" / "python"
        ask = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        packages = Path(subprocess.run(ask, check=True, capture_output=True, text=True, timeout=30).stdout.strip())
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:  # it holds Python alone, so that unpacking it is installing it
            archive.extractall(packages)
        # a path in a .pth is searched as it is: the .pth files in there, and so the checkout, are not followed
        (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
        yield python
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def outside(installed: Path, tmp_path: Path) -> Outside:
    """A project of its own for each test."""
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__", "reports"))
    return Outside(installed, project)


def test_the_lab_is_the_installed_one(outside: Outside) -> None:
    script = (
        "import sys, runlab, faults.database, verifiers.plugin\n"
        "print(sys.path, runlab.__file__, faults.database.__file__, verifiers.plugin.__file__)"
    )
    seen = outside.run("-c", script)
    assert seen.returncode == 0, seen.stdout
    assert f"'{ROOT}'" not in seen.stdout
    assert seen.stdout.count(f"{outside.python.parent.parent}/lib/") >= 4


def test_the_doctor_knows_the_machine_without_a_checkout(outside: Outside) -> None:
    seen = outside.run("-c", "from runlab.cli import main; main()", "doctor")
    assert seen.returncode == 0, seen.stdout
    assert "prometheus" in seen.stdout


def test_a_team_tries_its_own_runbook(outside: Outside) -> None:
    ended = outside.run("-m", "pytest", "-q")
    assert ended.returncode == 0, ended.stdout[-4000:]
    latest = outside.project / "reports" / "latest"
    results = json.loads((latest / "results.json").read_text(encoding="utf-8"))
    assert {claim["id"]: claim["verdict"] for claim in results["claims"]} == VERDICTS, ended.stdout[-4000:]
    lines = journal.read(latest / "journal")
    assert any(line["kind"] == "undo" and line["fault"]["class"] == "faults.tables:LeftOpen" for line in lines)
    of_line, of_results = (Draft202012Validator(schemas.load(name)) for name in ("journal", "results"))
    assert [error.message[:300] for line in lines for error in of_line.iter_errors(line)] == []
    assert [error.message[:300] for error in of_results.iter_errors(results)] == []


def test_a_wrong_runbook_is_refuted(outside: Outside) -> None:
    """The example can fail: with a query that lists those who wait, its first step does not find who blocks them."""
    book = outside.project / "runbooks" / "RB-009-left-open.md"
    _change(book, "SELECT DISTINCT unnest(pg_blocking_pids(pid)) AS pid", "SELECT pid")
    scenario = outside.project / "scenarios" / "test_rb009_left_open.py"
    _change(scenario, '    procedure = "', '    recovers_within_s = 5.0\n    procedure = "')
    ended = outside.run("-m", "pytest", "-q", "-k", "TestLeftOpen and detected")
    assert ended.returncode == 1, ended.stdout[-4000:]
    results = json.loads((outside.project / "reports" / "latest" / "results.json").read_text(encoding="utf-8"))
    verdicts = {claim["id"]: claim["verdict"] for claim in results["claims"]}
    assert verdicts["RB-009/recover/immediate-actions/1"] == "refuted"


def test_the_guides_print_the_example_as_it_is() -> None:
    printed = [block for guide in GUIDES for block in BLOCK.findall((ROOT / "docs" / guide).read_text("utf-8"))]
    files = {str(file.relative_to(EXAMPLE)): file.read_text("utf-8") for file in _files()}
    assert sorted(name for name, _ in printed) == sorted(files)
    assert dict(printed) == files


def _change(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def _files() -> Iterator[Path]:
    """The example's own files, without what running it leaves behind."""
    for file in sorted(EXAMPLE.rglob("*")):
        if file.is_file() and not {"__pycache__", "reports"} & set(file.relative_to(EXAMPLE).parts):
            yield file
