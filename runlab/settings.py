"""lab.toml, read once into frozen models; every mistake in it is one line with file, line and mend."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runlab.model import LabError


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Family(_Strict):
    """A command that the operator may run, and as whom.

    `statements` limits SQL to these kinds; `services` limits URLs to these services of the stack.
    """

    account: Literal["operator", "service"] = "operator"
    statements: tuple[Literal["select", "explain"], ...] = ()
    services: tuple[str, ...] = ()
    service: str = ""
    database: str = ""
    role: str = ""
    password: str = ""


class ConsoleSettings(_Strict):
    """The operator's console: which families of commands are allowed, and for how many seconds each may run."""

    time_limit_s: float = Field(default=20.0, gt=0, le=600)
    families: dict[str, Family] = Field(default_factory=dict)


class StackSettings(_Strict):
    """Where the description of the services lies and where runs write, relative to lab.toml."""

    compose: Path = Path("compose/compose.yaml")
    reports: Path = Path("reports")


class Settings(_Strict):
    """All of lab.toml. `root` is the folder that it stands in; paths are relative to it."""

    root: Path
    runbooks: Path = Path("runbooks")
    time_scale: float = Field(default=600.0, ge=1.0, le=100_000.0)
    min_executed: int = Field(default=0, ge=0)
    stack: StackSettings = Field(default_factory=StackSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)

    def path(self, relative: Path) -> Path:
        return self.root / relative


def load(file: Path) -> Settings:
    """Read lab.toml. Raises LabError with file and line for what is unreadable, unknown or out of range."""
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except FileNotFoundError:
        raise LabError("no such file", where=str(file), mend="run from the folder that holds lab.toml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"cannot be read: {error}", where=str(file)) from None
    except tomllib.TOMLDecodeError as error:
        raise LabError(f"not TOML: {error}", where=str(file)) from None
    try:
        return Settings(root=file.parent, **data)
    except (ValidationError, TypeError) as error:
        raise _explained(error, file, text) from None


def _explained(error: Exception, file: Path, text: str) -> LabError:
    if not isinstance(error, ValidationError):
        return LabError(str(error), where=str(file), mend="remove the key")
    first: Any = error.errors()[0]
    keys = [str(key) for key in first["loc"] if isinstance(key, str)]
    line = _line_of(keys, text)
    where = f"{file}:{line}" if line else str(file)
    if first["type"] == "extra_forbidden":
        return LabError(f"unknown setting {'.'.join(keys)}", where=where, mend="remove it or mend its name")
    return LabError(f"{'.'.join(keys)}: {first['msg'].lower()}, but it is {first['input']!r}", where=where)


def _line_of(keys: list[str], text: str) -> int | None:
    """The line on which the last of `keys` is set, looked for under the table that the others name."""
    if not keys:
        return None
    table = ".".join(keys[:-1])
    inside = not table
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("["):
            inside = line.strip("[]").startswith(table) if table else False
            if line.split("#")[0].strip().strip("[]") == ".".join(keys):
                return number
        elif inside and line.split("=")[0].strip() == keys[-1]:
            return number
    return None
