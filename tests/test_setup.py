"""Set-up: what it finds, what it puts back, when it does nothing. The real thing is tried on a bare machine."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runlab.model import LabError
from runlab.setup import distribution, interpreter, no_daemons, packages, programs, run
from tests.programs import executable

CHECKOUT = Path(__file__).resolve().parents[1]


# ---------------------------------------------------------------------------------------- before anything is installed


def test_it_runs_with_the_standard_library_alone() -> None:
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); import runlab.setup.__main__; print('fine')"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_an_older_python_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = CHECKOUT / "runlab" / "setup" / "__init__.py"
    ast.parse(source.read_text(), feature_version=(3, 6))
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    with pytest.raises(SystemExit) as leaving:
        exec(compile(source.read_text(), str(source), "exec"), {})
    assert leaving.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("setup: Python 3.11 or newer is needed, this is 3.9; ")
    assert said.count("\n") == 1


# ------------------------------------------------------------------------------------------------------------ programs


def test_the_newest_postgresql_that_is_there_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "POSTGRES_HOMES", tmp_path)
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path / "usr"),))
    assert programs.find("postgres") is None
    executable(tmp_path / "9.6" / "bin" / "postgres")
    fifteen = executable(tmp_path / "15" / "bin" / "postgres")
    executable(tmp_path / "17" / "bin" / "psql")  # clients only
    executable(tmp_path / "common" / "bin" / "postgres")
    assert programs.find("postgres") == fifteen
    assert programs.find("psql") == tmp_path / "17" / "bin" / "psql"


def test_either_name_of_a_server_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
    assert "prometheus-alertmanager" in packages.missing()
    executable(tmp_path / "alertmanager")
    assert "prometheus-alertmanager" not in packages.missing()


def test_missing_packages_are_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
    monkeypatch.setattr(programs, "POSTGRES_HOMES", tmp_path)
    monkeypatch.setattr(distribution, "here", lambda: ("debian", "12"))
    assert sorted(packages.missing()) == sorted({program.package for program in programs.PROGRAMS if program.package})


@pytest.mark.parametrize(
    ("here", "package"),
    [
        (("debian", "12"), "mariadb-server-core"),
        (("ubuntu", "24.04"), "mariadb-server-core"),
        (("ubuntu", "22.04"), "mariadb-server-core-10.6"),
        (("", ""), "mariadb-server-core"),
    ],
)
def test_packages_have_the_names_of_the_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: tuple[str, str], package: str
) -> None:
    monkeypatch.setattr(programs, "SYSTEM", (str(tmp_path),))
    monkeypatch.setattr(distribution, "here", lambda: here)
    assert package in packages.missing()
    # the whole server's package makes a database and a service that starts at boot
    assert not {"mariadb-server", "mariadb-server-10.6"} & set(packages.missing())


# --------------------------------------------------------------------------------------------- no daemon, all put back


@pytest.fixture
def places(tmp_path: Path) -> no_daemons.Places:
    for folder in ("usr/sbin", "etc/rc2.d", "etc/systemd/system/multi-user.target.wants", "var/lib/dpkg"):
        (tmp_path / folder).mkdir(parents=True)
    link(tmp_path, "etc/rc2.d/S01cron", "etc/systemd/system/multi-user.target.wants/cron.service")
    return no_daemons.Places(tmp_path)


def link(root: Path, *names: str) -> None:
    for name in names:
        (root / name).symlink_to("/nowhere")


def tree(root: Path) -> dict[str, tuple[int, int]]:
    found = ((path, path.lstat()) for path in root.rglob("*") if path.name != "lock-frontend")
    return {str(path.relative_to(root)): (status.st_mode, status.st_ino) for path, status in found}


def answer(places: no_daemons.Places, **environment_: str) -> int:
    return subprocess.run([places.policy, "x", "start"], env=environment_, check=False).returncode


@pytest.fixture(params=["no policy", "a policy", "a link"])
def policy(request: pytest.FixtureRequest, places: no_daemons.Places) -> str:
    if request.param == "a policy":
        places.policy.write_text("#!/bin/sh\nexit 7\n")
        places.policy.chmod(0o751)
    elif request.param == "a link":
        own = executable(places.root / "own-policy")
        own.write_text("#!/bin/sh\nexit 7\n")
        places.policy.symlink_to(own)
    return str(request.param)


@pytest.mark.parametrize("leaving", [None, KeyboardInterrupt(), SystemExit(143), LabError("apt failed")])
def test_everything_is_put_back_however_it_ends(
    places: no_daemons.Places, policy: str, leaving: BaseException | None
) -> None:
    before = tree(places.root)
    expected = pytest.raises(type(leaving)) if leaving else contextlib.nullcontext()
    with expected, no_daemons.no_daemons(places) as ours:
        assert answer(places, **ours) == no_daemons.FORBIDDEN
        assert answer(places) == (0 if policy == "no policy" else 7)
        assert "create_main_cluster = false" in places.cluster_setting.read_text()
        if leaving:
            raise leaving
    assert tree(places.root) == before


def test_only_what_the_installation_enabled_is_disabled(
    places: no_daemons.Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(no_daemons, "run", lambda words, **_: calls.append(words))
    before = places.boot_links()
    with no_daemons.no_daemons(places):
        wants = "etc/systemd/system/multi-user.target.wants"
        link(places.root, "etc/rc2.d/S01prometheus", f"{wants}/prometheus.service", f"{wants}/other.service")
    assert places.boot_links() == before
    assert calls == [("update-rc.d", "prometheus", "disable")]


def test_what_a_killed_set_up_left_is_mended_by_the_next(
    places: no_daemons.Places, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(no_daemons, "run", lambda *_, **__: "")
    before = tree(places.root)
    no_daemons._forbid_starts(places.boot_links(), places)
    places.cluster_setting.parent.mkdir(parents=True)
    places.cluster_setting.write_text("create_main_cluster = false\n")
    link(places.root, "etc/rc2.d/S01prometheus", "etc/rc2.d/S01enabled-by-somebody-since")
    no_daemons.mend_after_kill(places)
    assert not places.cluster_setting.exists()
    shutil.rmtree(places.root / "etc/postgresql-common")  # whether it was there before is not known any more
    after = tree(places.root)
    assert after.pop("etc/rc2.d/S01enabled-by-somebody-since")
    assert after == before
    no_daemons.mend_after_kill(places)


# ------------------------------------------------------------------------------------------------------------ packages


def test_without_root_the_one_command_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    assert packages.provide(("curl", "postgresql"), CHECKOUT) is False
    assert "\n  sudo apt-get install -y --no-install-recommends curl postgresql\n" in capsys.readouterr().out


class Apt:
    """Stands in for apt-get: what it was asked, and which of the calls fail."""

    def __init__(self, *failing: int) -> None:
        self.calls: list[str] = []
        self.failing = failing

    def __call__(self, words: tuple[str, ...], **_: object) -> str:
        simulated = "--simulate" in words
        self.calls.append("plan" if simulated else words[-1] if words[-1] == "update" else "install")
        if len(self.calls) in self.failing:
            raise LabError("apt failed")
        return "Inst curl (1)\nInst libcurl (1)\nConf curl\n" if simulated else ""


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ((), ["plan", "install"]),
        ((1,), ["plan", "update", "plan", "install"]),
        ((2,), ["plan", "install", "update", "install"]),
    ],
)
def test_apt_updates_only_when_its_lists_do_not_do(
    places: no_daemons.Places,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failing: tuple[int, ...],
    expected: list[str],
) -> None:
    apt = Apt(*failing)
    monkeypatch.setattr(packages, "run", apt)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "no_daemons", lambda: no_daemons.no_daemons(places))
    packages.install(("curl",))
    assert apt.calls == expected
    assert "installing by apt: curl (2 packages" in capsys.readouterr().out


def test_apt_that_fails_after_an_update_is_an_error(places: no_daemons.Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "run", Apt(1, 4))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(packages, "no_daemons", lambda: no_daemons.no_daemons(places))
    before = tree(places.root)
    with pytest.raises(LabError, match="apt failed"):
        packages.install(("curl",))
    assert tree(places.root) == before


# ---------------------------------------------------------------------------------------------------- running commands


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("Reading lists\nE: Unable to locate package x\nE: more\n", "E: Unable to locate package x"),
        ("error: Request failed\n  cause: client error\n  cause: no name\n", "error: Request failed: no name"),
        ("WARNING: Retrying: '[Errno -3] no name': /x\nERROR: no version\n", "ERROR: no version: [Errno -3] no name"),
        ("one\n\ntwo \n", "two"),
        ("", ""),
    ],
)
def test_the_line_that_says_why(output: str, line: str) -> None:
    assert run.telling_line(output) == line


def test_a_failing_command_is_one_line_with_its_mend() -> None:
    with pytest.raises(LabError, match=r"^trying failed: E: no; mend it$"):
        run.run(("sh", "-c", "echo 'E: no'; exit 3"), doing="trying", mend="mend it")
    with pytest.raises(LabError, match="No such file"):
        run.run(("/no/such/program",), doing="trying", mend="mend it")


# --------------------------------------------------------------------------------------------------------- interpreter


@pytest.mark.skipif(not interpreter.can_switch_accounts(), reason="only root can become another account")
def test_a_python_that_the_services_cannot_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = tmp_path / "home" / "python3"
    hidden.parent.mkdir(mode=0o700)
    hidden.symlink_to(os.path.realpath("/usr/bin/python3"))
    monkeypatch.setattr(interpreter, "SYSTEM_PYTHON", hidden)
    monkeypatch.setattr(sys, "executable", str(hidden))
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/python3" if name == "python3" else None)
    assert interpreter.choose() == Path("/usr/bin/python3")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(LabError, match=f"account nobody can run .tried {hidden}"):
        interpreter.choose()
