"""Toxiproxy's server, which Debian and Ubuntu do not package: upstream's own binary, else built from its Go module.

Without either the lab goes on without the faults that need it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from runlab.model import LabError
from runlab.setup import distribution, fetch, programs
from runlab.setup.interpreter import runs
from runlab.setup.place import alone, new_beside, place, writable
from runlab.setup.programs import TOXIPROXY_VERSION as VERSION
from runlab.setup.run import run, say

BINARY = "toxiproxy-server"
MODULE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
OLDEST_GO = (1, 23)
GO_HOMES = ("usr/local/go", "usr/lib/go-*")
TRY_AGAIN_AFTER_S = 3600


@dataclass(frozen=True)
class Release:
    """An archive that upstream released, and the SHA-256 of its bytes."""

    file: str
    sha256: str

    @property
    def url(self) -> str:
        return f"https://github.com/Shopify/toxiproxy/releases/download/v{VERSION}/{self.file}"


# by `uname -m`. The sums are those of two independent package recipes, which agree
RELEASES: Mapping[str, Release] = MappingProxyType(
    {
        "x86_64": Release(
            f"toxiproxy_{VERSION}_linux_amd64.tar.gz",
            "65e042d3fc2290c099527bc506446a6fd863a09f113b8944b636ece70221c2b3",
        ),
        "aarch64": Release(
            f"toxiproxy_{VERSION}_linux_arm64.tar.gz",
            "ab417dafc77ae8b54ec8461cc5da5180d0465a61dcbda86c72da72ee4ab843b7",
        ),
    }
)


def wanted(checkout: Path) -> bool:
    """Whether it is missing and worth a try: not again within the hour, unless there is a Go that was not there."""
    if programs.find(BINARY) is not None:
        return False
    record = _record(checkout)
    try:
        fresh = time.time() - record.stat().st_mtime < TRY_AGAIN_AFTER_S
    except FileNotFoundError:
        return True
    return not fresh or find_go() is not None


def obtain(checkout: Path) -> Path | None:
    """Put the server where `programs.find` looks, whole or not at all; tells which way, or why there is none."""
    try:
        tools = checkout / ".tools"
        tools.mkdir(exist_ok=True)
        with alone(tools):
            return programs.find(BINARY) or _make(checkout)  # another set-up can have made it meanwhile
    except (LabError, OSError) as error:
        say(f"not to be had ({error}); goes on without it, `runlab doctor` says how to get it")
        with contextlib.suppress(OSError):
            _record(checkout).write_text(f"{error}\n")
        return None


def mend() -> str:
    """How a person gets it."""
    package = distribution.GO_PACKAGE.get(distribution.here())
    go = f"Go {'.'.join(map(str, OLDEST_GO))} or newer" + (f" (apt-get install {package})" if package else "")
    return f"put {BINARY} {VERSION} into /usr/local/bin, or install {go} and run `make setup`"


def find_go() -> Path | None:
    """A Go that is new enough, or None."""
    on_path = shutil.which("go")
    candidates = [Path(on_path)] if on_path else []
    for pattern in GO_HOMES:
        candidates += [home / "bin" / "go" for home in sorted(Path("/").glob(pattern), reverse=True)]
    for go in candidates:
        try:
            done = subprocess.run(
                (go, "env", "GOVERSION"), env=_environment(), capture_output=True, text=True, check=False
            )
        except OSError:
            continue
        version = re.match(r"go(\d+)\.(\d+)", done.stdout)
        if version and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return go
    return None


def _record(checkout: Path) -> Path:
    return checkout / ".tools" / f"toxiproxy-{VERSION}.not-to-be-had"


def _make(checkout: Path) -> Path:
    home = place(programs.toxiproxy_home(checkout), checkout)
    new = new_beside(home)
    try:
        why = _download(new)
        if why is not None:
            go = find_go()
            if go is None:
                raise LabError(f"release: {why}; no Go {'.'.join(map(str, OLDEST_GO))} or newer to build it")
            say(f"no release binary ({why}): building {VERSION} with {go}")
            _build(go, new)
        binary = new / BINARY
        binary.chmod(0o755)
        if not runs((binary, "--version")):
            raise LabError("the services' account cannot run it", where=str(binary))
        shutil.rmtree(home, ignore_errors=True)
        new.rename(home)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    _record(checkout).unlink(missing_ok=True)
    return home / BINARY


def _download(folder: Path) -> str | None:
    """Put the released binary into `folder`; else why not, in a few words."""
    release = RELEASES.get(platform.machine())
    if release is None:
        return f"none for {platform.machine()}"
    say(f"fetching upstream's {release.file}")
    archive = folder / release.file
    try:
        run((sys.executable, "-I", fetch.__file__, release.url, archive), doing="fetching", mend="")
    except LabError as error:
        return error.message.removeprefix("fetching failed: ").removeprefix("error: ")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != release.sha256:
        return "what came is not what upstream released"
    with tarfile.open(archive) as content, (folder / BINARY).open("wb") as binary:
        packed = content.extractfile(BINARY)
        assert packed is not None, "its bytes are known: it is a regular file"
        shutil.copyfileobj(packed, binary)
    archive.unlink()
    return None


def _build(go: Path, folder: Path) -> None:
    """`go install` into `folder`, by the user's own module proxy, checksum database and caches."""
    settings, temporary = _environment(), dict[str, str]()
    caches = run((go, "env", "GOCACHE", "GOMODCACHE"), doing="asking Go for its caches", mend="", env=settings)
    if not all(cache and writable(Path(cache)) for cache in caches.splitlines()):
        temporary = {"GOCACHE": str(folder / "cache"), "GOMODCACHE": str(folder / "modules")}
        settings["GOFLAGS"] += " -modcacherw"  # else they could not be removed
    flags = f"-s -w -X github.com/Shopify/toxiproxy/v2.Version={VERSION}"
    run(
        (go, "install", "-trimpath", f"-ldflags={flags}", MODULE),
        doing="go install",
        mend="check the network and `go env GOPROXY`",
        env=settings | temporary | {"GOBIN": str(folder)},
        cwd=folder,
    )
    (folder / "server").rename(folder / BINARY)
    for cache in temporary.values():
        shutil.rmtree(cache)


def _environment() -> dict[str, str]:
    """Go as set-up needs it, whatever the user has set: this machine's own target, no C compiler, no other Go."""
    return {
        **os.environ,
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=mod",
        "GO111MODULE": "on",
        "GOWORK": "off",
        "GOOS": "",
        "GOARCH": "",
        "CGO_ENABLED": "0",
    }
