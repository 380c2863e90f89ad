"""Every mistake in lab.toml is one line that names the file, the line and what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from runlab.model import LabError
from runlab.settings import Settings, load
from runlab.stack import compose

GOOD = """\
# a comment with time_scale = 1 in it
runbooks = "books"
time_scale = 100   # a hundredth

[stack]
compose = "services/compose.yaml"

[console]
time_limit_s = 5

[console.families.psql]
statements = ["select"]
service = "postgres"
password = "ONCALL_PASSWORD"

[console.families.psql2]
account = "service"
services = ["api", "pipeline"]

[console.families.owner]
tool = "mariadb"
statements = ["alter table drop column"]
"""


def lab(folder: Path, text: str | bytes) -> Path:
    file = folder / "lab.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_it_is_read_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    settings = load(lab(tmp_path, GOOD))
    assert settings.path(settings.runbooks) == tmp_path / "books"
    assert settings.path(settings.stack.reports) == tmp_path / "reports"
    assert settings.time_scale == 100.0
    assert settings.console.families["psql"].account == "operator"
    assert settings.console.families["psql2"].services == ("api", "pipeline")
    assert settings.console.families["owner"].tool == "mariadb"
    assert settings.console.families["owner"].statements == ("alter table drop column",)


def test_an_empty_file_allows_the_operator_nothing(tmp_path: Path) -> None:
    assert load(lab(tmp_path, "")).console.families == {}


MISTAKES = {
    'time_scale = "fast"': ":1: time_scale: input should be a valid number",
    "\n\ntime_scale = 0.5": ":3: time_scale: input should be greater than or equal to 1, but it is 0.5",
    "time_scale = inf": ":1: time_scale: input should be a finite number",
    "time_scale = nan": ":1: time_scale: input should be a finite number",
    "time_scale = 1e9": ":1: time_scale: input should be less than or equal to 100000",
    "min_executed = -1": ":1: min_executed: input should be greater than or equal to 0",
    "min_executed = 1.5": ":1: min_executed: input should be a valid integer",
    "runbooks = 3": ":1: runbooks: input is not a valid path",
    "time_scael = 3": ":1: unknown setting time_scael; remove it or mend its name",
    "\n[stak]\n": ":2: unknown setting stak;",
    "[stack]\n\nreport = 'x'": ":3: unknown setting stack.report;",
    "stack.report = 'x'": ":1: unknown setting stack.report;",
    "stack = 3": ":1: stack: input should be a valid dictionary",
    "[console]\ntime_limit_s = 0": ":2: console.time_limit_s: input should be greater than 0",
    "[console]\ntime_limit_s = 601": ":2: console.time_limit_s: input should be less than or equal to 600",
    "[console.families.ls]\naccount = 'admiral'": ":2: console.families.ls.account: input should be 'operator',",
    "[console.families.ls]\naccount = 'root'": ":1: console.families.ls: value error, what runs as root needs `only`",
    "[console.families.ls]\nonly = ['(']": ":2: console.families.ls.only: input should be a valid regular expression",
    "[stack]\nruntime = 'cloud'": ":2: stack.runtime: input should be 'embedded', 'sandbox' or 'processes'",
    "[console.families.ls]\nacount = 'service'": ":2: unknown setting console.families.ls.acount;",
    "[console.families]\nls = {acount = 'service'}": ":2: unknown setting console.families.ls.acount;",
    "[console.families.psql]\nstatements = ['drop']": ":2: console.families.psql.statements: input should be",
    "[console.families.owner]\ntool = 'sh'": ":2: console.families.owner.tool: input should be '', 'psql' or 'mariadb'",
    "file = '/etc/passwd'": ":1: unknown setting file;",
    "a = 1\nx = = 3\n": ":2: not TOML: invalid value; mend that line",
    "a = 1\na = 2\n": ":2: not TOML: cannot overwrite a value",
    "a = [1,\n": ":1: not TOML:",
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.items())
def test_a_mistake_is_one_line_with_file_and_line(tmp_path: Path, text: str, said: str) -> None:
    file = lab(tmp_path, text)
    with pytest.raises(LabError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}{said}")
    assert "\n" not in str(caught.value)


def test_what_is_no_readable_file_is_said_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"lab.toml: no such file; run from the folder that holds lab.toml"):
        load(tmp_path / "lab.toml")
    with pytest.raises(LabError, match=r"cannot be read: Is a directory; give a file by --lab"):
        load(tmp_path)
    with pytest.raises(LabError, match=r"lab.toml:2: not UTF-8; save it as UTF-8"):
        load(lab(tmp_path, b"# fine\n# \xff\n"))


@pytest.mark.parametrize("scale", ["0", "-1", "nan", "inf", "0.5", "fast", "", "1e9"])
def test_a_bad_time_scale_of_the_command_line_is_refused(tmp_path: Path, scale: str) -> None:
    with pytest.raises(LabError, match=f"^--time-scale {scale}: input should"):
        load(lab(tmp_path, GOOD)).scaled(scale)


def test_the_command_line_s_time_scale_goes_before_the_file_s(tmp_path: Path) -> None:
    settings = load(lab(tmp_path, GOOD))
    assert settings.scaled("1").time_scale == 1.0
    assert settings.scaled("1").console == settings.console
    assert settings.time_scale == 100.0


def test_the_console_names_only_what_the_stack_has(tmp_path: Path) -> None:
    settings = load(lab(tmp_path, GOOD))
    services, secrets = ["postgres", "api", "pipeline"], ["ONCALL_PASSWORD"]
    settings.check_console(services, secrets)
    assert complaint(settings, services[1:], secrets) == (
        f"{settings.file}:13: there is no postgres in services/compose.yaml; there are api, pipeline"
    )
    assert complaint(settings, services[:2], secrets) == (
        f"{settings.file}:18: there is no pipeline in services/compose.yaml; there are postgres, api"
    )
    assert complaint(settings, services, ["APP_PASSWORD"]) == (
        f"{settings.file}:14: there is no ONCALL_PASSWORD in services/compose.yaml; there are APP_PASSWORD"
    )


def test_the_console_may_name_services_that_only_some_runs_start() -> None:
    settings = load(Path(__file__).parent.parent / "lab.toml")
    described = compose.read(settings.path(settings.stack.compose))
    named = {family.service for family in settings.console.families.values()}
    assert [name for name in sorted(named & set(described.services)) if described.services[name].profiles]
    settings.check_console(list(described.services), [secret.environment for secret in described.secrets.values()])


def complaint(settings: Settings, services: list[str], secrets: list[str]) -> str:
    with pytest.raises(LabError) as caught:
        settings.check_console(services, secrets)
    return str(caught.value)
