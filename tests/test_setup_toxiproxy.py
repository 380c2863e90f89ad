"""How set-up gets Toxiproxy: the released binary with its known sum, else Go's module, else none; never half of one."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import platform
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlab.setup import fetch, interpreter, place, programs, toxiproxy

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout on a machine without Toxiproxy, of which nothing can be reached."""
    for module in (interpreter, place):  # pytest's folders are 0700: no other account can enter them
        monkeypatch.setattr(module, "can_switch_accounts", lambda: False)
    monkeypatch.setattr(programs, "CHECKOUT", tmp_path)
    monkeypatch.setattr(programs, "SYSTEM", ())
    monkeypatch.setattr(toxiproxy, "_download", lambda _: "nobody there")
    monkeypatch.setattr(toxiproxy, "find_go", lambda: None)
    return tmp_path


def server_that_tells(version: str) -> bytes:
    return f"#!/bin/sh\necho toxiproxy-server version {version}\n".encode()


def left(checkout: Path) -> list[str]:
    return sorted(path.name for path in (checkout / ".tools").iterdir())


# ------------------------------------------------------------------------------------------------------ not to be had


def test_none_to_be_had_is_one_line_and_not_tried_again_within_the_hour(
    checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert toxiproxy.wanted(checkout)
    assert toxiproxy.obtain(checkout) is None
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "not to be had (release: nobody there; no Go 1.23 or newer to build it)" in said
    assert not toxiproxy.wanted(checkout)
    record = checkout / ".tools" / left(checkout)[0]
    os.utime(record, (0, time.time() - toxiproxy.TRY_AGAIN_AFTER_S - 1))
    assert toxiproxy.wanted(checkout)
    record.touch()
    monkeypatch.setattr(toxiproxy, "find_go", lambda: Path("/usr/local/go/bin/go"))
    assert toxiproxy.wanted(checkout)


def test_a_checkout_of_somebody_else_goes_on_without(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / ".tools").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert toxiproxy.obtain(checkout) is None


def test_the_system_s_own_comes_first(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = checkout / "usr" / "toxiproxy-server"
    own.parent.mkdir()
    own.write_bytes(server_that_tells("9"))
    own.chmod(0o755)
    monkeypatch.setattr(programs, "SYSTEM", (str(own.parent),))
    assert not toxiproxy.wanted(checkout)
    assert toxiproxy.obtain(checkout) == own


# ---------------------------------------------------------------------------------------------------- the released one


@pytest.fixture
def released(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Upstream's archive, served on the loopback."""
    site = checkout / "site"
    site.mkdir()
    packed, content = tarfile.TarInfo("toxiproxy-server"), server_that_tells(toxiproxy.VERSION)
    packed.size = len(content)
    with tarfile.open(site / "toxiproxy.tar.gz", "w:gz") as archive:
        archive.addfile(packed, io.BytesIO(content))
    release = toxiproxy.Release(
        "toxiproxy.tar.gz", hashlib.sha256((site / "toxiproxy.tar.gz").read_bytes()).hexdigest()
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(site))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = property(lambda self: f"http://127.0.0.1:{server.server_port}/{self.file}")
        monkeypatch.setattr(toxiproxy.Release, "url", url)
        monkeypatch.setattr(toxiproxy, "RELEASES", {platform.machine(): release})
        monkeypatch.setattr(toxiproxy, "_download", DOWNLOAD)
        yield site / release.file
        server.shutdown()


DOWNLOAD = toxiproxy._download


def test_the_released_binary_is_taken_and_found(released: Path, checkout: Path) -> None:
    assert toxiproxy.obtain(checkout) == programs.toxiproxy_home(checkout) / "toxiproxy-server"
    assert programs.find("toxiproxy-server") == programs.toxiproxy_home(checkout) / "toxiproxy-server"
    assert left(checkout) == [f"toxiproxy-{toxiproxy.VERSION}"]
    assert not toxiproxy.wanted(checkout)


def test_other_bytes_than_upstream_s_are_refused(
    released: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released.write_bytes(released.read_bytes() + b"x")
    assert toxiproxy.obtain(checkout) is None
    assert "what came is not what upstream released" in capsys.readouterr().out
    assert left(checkout) == [f"toxiproxy-{toxiproxy.VERSION}.not-to-be-had"]


def test_what_a_killed_set_up_left_is_removed_and_never_found(released: Path, checkout: Path) -> None:
    half = checkout / ".tools" / f"toxiproxy-{toxiproxy.VERSION}.abc.new" / "toxiproxy-server"
    half.parent.mkdir(parents=True)
    half.touch(mode=0o755)
    assert programs.find("toxiproxy-server") is None
    assert toxiproxy.obtain(checkout) is not None
    assert left(checkout) == [f"toxiproxy-{toxiproxy.VERSION}"]


def test_a_binary_that_the_services_cannot_run_is_not_put_there(
    released: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toxiproxy, "runs", lambda _: False)
    assert toxiproxy.obtain(checkout) is None
    assert programs.find("toxiproxy-server") is None


@pytest.mark.skipif(not interpreter.can_switch_accounts(), reason="only root can become another account")
def test_below_a_closed_home_it_lies_where_the_services_can_reach_it(
    released: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shared = Path("/var/tmp") / f"runlab-test-{os.getpid()}"
    monkeypatch.setattr(place, "SHARED_PLACE", shared)
    monkeypatch.setattr(place, "can_switch_accounts", lambda: True)
    try:
        assert toxiproxy.obtain(checkout) is not None
        found = programs.find("toxiproxy-server")
        assert found is not None
        assert found.is_relative_to(shared)
        assert interpreter.runs_as_account((found, "--version"))
        assert programs.toxiproxy_home(checkout).is_symlink()
    finally:
        subprocess.run(["rm", "-rf", str(shared)], check=True)


def test_a_host_that_does_not_answer_costs_less_than_five_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        code = (
            "import pathlib, sys; from runlab.setup import fetch; fetch.ANSWER_S = 0.2;"
            "fetch.main(sys.argv[1], pathlib.Path(sys.argv[2]))"
        )
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code, url, tmp_path / "x"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    assert time.monotonic() - started < 2
    assert (done.returncode, done.stderr) == (1, "error: no answer within 0 s\n")
    assert fetch.ANSWER_S < 5


@pytest.mark.parametrize(("address", "why"), [("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid", "known")])
def test_a_host_that_cannot_be_reached_is_a_few_words(tmp_path: Path, address: str, why: str) -> None:
    command = [sys.executable, "-I", fetch.__file__, f"http://{address}/x", tmp_path / "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(rf"error: [^\[\n]*{why}\n", done.stderr)


# ----------------------------------------------------------------------------------------------------------------- Go


def fake_go(folder: Path, version: str) -> Path:
    """A `go` that tells `version`, and builds a server that tells what it was asked to build and how."""
    go = folder / "go"
    folder.mkdir(parents=True, exist_ok=True)
    go.write_text(
        "#!/bin/sh\n"
        f'[ "$*" = "env GOVERSION" ] && echo {version} && exit\n'
        f'[ "$*" = "env GOCACHE GOMODCACHE" ] && echo {folder}/a && echo {folder}/b && exit\n'
        'printf "#!/bin/sh\\necho toxiproxy-server $CGO_ENABLED $GOTOOLCHAIN\\n" > "$GOBIN/server"\n'
        'chmod +x "$GOBIN/server"\n'
        f'echo "$@" > {folder}/asked\n'
    )
    go.chmod(0o755)
    return go


FIND_GO = toxiproxy.find_go


@pytest.mark.parametrize(
    ("version", "good"), [("go1.22.9", False), ("go1.23.0", True), ("go1.26.8", True), ("x", False)]
)
def test_only_a_go_that_is_new_enough_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, good: bool
) -> None:
    go = fake_go(tmp_path, version)
    monkeypatch.setattr(toxiproxy, "GO_HOMES", ())
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert FIND_GO() == (go if good else None)


def test_it_is_built_from_the_pinned_module(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = fake_go(checkout / "go", "go1.26.8")
    monkeypatch.setattr(toxiproxy, "find_go", lambda: go)
    built = toxiproxy.obtain(checkout)
    assert built is not None
    assert subprocess.run([built], capture_output=True, text=True, check=True).stdout == "toxiproxy-server 0 local\n"
    assert (
        (checkout / "go" / "asked")
        .read_text()
        .endswith(f"github.com/Shopify/toxiproxy/v2/cmd/server@v{toxiproxy.VERSION}\n")
    )
    assert left(checkout) == [f"toxiproxy-{toxiproxy.VERSION}"]
