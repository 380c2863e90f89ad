"""lab.toml, read once into frozen models; every mistake in it is one line with file, line and mend."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from runlab.model import LabError
from runlab.stack.runtimes import RUNTIMES, Kind

_UNKNOWN = "remove it or mend its name"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Family(_Strict):
    """A command that the operator may run, and as whom.

    A family is called by the name of its program. Several that run SQL by one program, each with a role of its own,
    have names of their own, and the program's is their `tool`. `statements` limits SQL to these kinds; `services`
    limits URLs to these services of the stack. `only`: regular expressions, one of which must match the whole command
    line, each word quoted as a shell needs it. `account` root is that of the sandbox, and has its `only`. With
    `sandbox` it runs in the sandbox alone, which it can't leave.
    """

    tool: Literal["", "psql", "mariadb"] = ""
    account: Literal["operator", "service", "root"] = "operator"
    sandbox: bool = False
    only: tuple[re.Pattern[str], ...] = ()
    statements: tuple[Literal["select", "explain", "show", "kill", "alter table drop column"], ...] = ()
    services: tuple[str, ...] = ()
    service: str = ""
    database: str = ""
    role: str = ""
    password: str = ""

    @model_validator(mode="after")
    def _root_is_bound(self) -> Family:
        if self.account == "root" and not self.only:
            raise ValueError("what runs as root needs `only`, the command lines that are allowed")
        return self


class ConsoleSettings(_Strict):
    """The operator's console: which families of commands are allowed, and for how many seconds each may run."""

    time_limit_s: float = Field(default=20.0, gt=0, le=600, allow_inf_nan=False)
    families: dict[str, Family] = Field(default_factory=dict)


def shipped_compose() -> Path:
    """compose.yaml of the platform that comes with the lab: in the wheel, or in this checkout."""
    package = Path(__file__).parent
    shipped = package / "platform" / "compose" / "compose.yaml"
    return shipped if shipped.exists() else package.parent / "compose" / "compose.yaml"


class StackSettings(_Strict):
    """Where the description of the services lies and where runs write, relative to lab.toml.

    Without `compose` it is the platform that comes with the lab. `rules` is a folder of further alert rules. `runtime`
    is one of runlab/stack/runtimes.py.
    """

    compose: Path = Field(default_factory=shipped_compose)
    rules: Path | None = None
    reports: Path = Path("reports")
    runtime: Kind = "embedded"


class Settings(_Strict):
    """All of lab.toml, which is `file`; paths are relative to the folder that it stands in."""

    file: Path
    runbooks: Path = Path("runbooks")
    time_scale: float = Field(default=600.0, ge=1.0, le=100_000.0, allow_inf_nan=False)
    min_executed: int = Field(default=0, ge=0)
    stack: StackSettings = Field(default_factory=StackSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)

    def path(self, relative: Path) -> Path:
        return self.file.parent / relative

    @property
    def rules(self) -> Path | None:
        """The team's own folder of alert rules, None where it names none. LabError when no rules are in it."""
        if self.stack.rules is None:
            return None
        folder = self.path(self.stack.rules)
        if not any(folder.glob("*.yml")):
            line = _line_of(["stack", "rules"], self.file.read_text(encoding="utf-8"))
            where = f"{self.file}:{line}"
            raise LabError(f"no rules (*.yml) in {folder}", where=where, mend="add some, or leave it out")
        return folder

    def scaled(self, time_scale: str) -> Settings:
        """These settings with the time scale that the command line gives. Raises LabError when it is none."""
        try:
            return Settings.model_validate({**dict(self), "time_scale": time_scale})
        except ValidationError as error:
            why = error.errors()[0]["msg"].lower()
            raise LabError(f"--time-scale {time_scale}: {why}", mend="1 is production scale, 600 a good one") from None

    def on_runtime(self, runtime: str) -> Settings:
        """These settings with the runtime that the command line gives. Raises LabError when there is none such."""
        try:
            stack = StackSettings.model_validate({**dict(self.stack), "runtime": runtime})
        except ValidationError:
            raise LabError(
                f"--runtime {runtime}: there is none such", mend=f"there are {', '.join(RUNTIMES)}"
            ) from None
        return self.model_copy(update={"stack": stack})

    def check_console(self, services: Collection[str], secrets: Collection[str]) -> None:
        """Raise LabError, with file and line, for a family that names what compose.yaml does not have."""
        for name, family in self.console.families.items():
            named = [(("service",), family.service, services), (("password",), family.password, secrets)]
            named += [(("services",), service, services) for service in family.services]
            for key, value, known in named:
                if value and value not in known:
                    line = _line_of(["console", "families", name, *key], self.file.read_text(encoding="utf-8"))
                    raise LabError(
                        f"there is no {value} in {self.stack.compose}",
                        where=f"{self.file}:{line}" if line else str(self.file),
                        mend=f"there are {', '.join(known)}",
                    )


def load(file: Path) -> Settings:
    """Read lab.toml. Raises LabError with file and line for what is unreadable, unknown or out of range."""
    try:
        raw = file.read_bytes()
        text = raw.decode("utf-8")
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise LabError("no such file", where=str(file), mend="run from the folder that holds lab.toml") from None
    except OSError as error:
        raise LabError(f"cannot be read: {error.strerror}", where=str(file), mend="give a file by --lab") from None
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise LabError("not UTF-8", where=f"{file}:{line}", mend="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        what, _, place = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", place)
        line = int(found[1]) if found else len(text.splitlines())
        raise LabError(f"not TOML: {what.lower()}", where=f"{file}:{line}", mend="mend that line") from None
    if "file" in data:
        raise LabError("unknown setting file", where=f"{file}:{_line_of(['file'], text)}", mend=_UNKNOWN)
    try:
        return Settings(file=file, **data)
    except ValidationError as error:
        raise _explained(error, file, text) from None


def _explained(error: ValidationError, file: Path, text: str) -> LabError:
    first: Any = error.errors()[0]
    keys = [str(key) for key in first["loc"] if isinstance(key, str)]
    line = _line_of(keys, text)
    where = f"{file}:{line}" if line else str(file)
    if first["type"] == "extra_forbidden":
        return LabError(f"unknown setting {'.'.join(keys)}", where=where, mend=_UNKNOWN)
    return LabError(f"{'.'.join(keys)}: {first['msg'].lower()}, but it is {first['input']!r}", where=where)


def _line_of(keys: list[str], text: str) -> int | None:
    """The line that sets `keys`, or opens the table or inline table around them; None when none does."""
    table: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            table = line.strip("[] ").split(".")
            if table == keys:
                return number
        elif [*table, *line.partition("=")[0].strip().split(".")] == keys:
            return number
    return _line_of(keys[:-1], text) if keys else None
