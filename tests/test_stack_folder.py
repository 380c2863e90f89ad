"""The run's folder: whose is taken for a dead run's, and that its mark goes last."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from runlab.model import LabError
from runlab.stack import folder


def dead(parent: Path, run_id: str = "gone") -> Path:
    """The folder of a run whose guard was killed: made a while ago, no lock."""
    place, lock = folder.create(run_id, str(parent))
    (place / "services").mkdir()
    (place / "services" / "data").write_text("x")
    os.close(lock)
    return aged(place)


def aged(place: Path) -> Path:
    os.utime(place, (1, 1))
    return place


def test_a_dead_runs_folder_is_removed(tmp_path: Path) -> None:
    place = dead(tmp_path)
    folder.end_dead_runs(str(tmp_path))
    assert not place.exists()


def test_a_folder_that_only_has_the_name_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "runlab-bench-x"
    mine.mkdir()
    (mine / "keeper.log").write_text("kept")
    copied = Path(shutil.copytree(dead(tmp_path), tmp_path / "runlab-copy"))
    named = tmp_path / "runlab-other"
    named.mkdir()
    (named / "run").mkdir()
    for place in (mine, copied, named):
        aged(place)
    folder.end_dead_runs(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, copied.name, named.name}
    assert (mine / "keeper.log").read_text() == "kept"


def test_a_run_that_lives_or_is_just_born_is_left_alone(tmp_path: Path) -> None:
    living, lock = folder.create("living", str(tmp_path))
    aged(living)
    newborn, other = folder.create("newborn", str(tmp_path))
    os.close(other)
    folder.end_dead_runs(str(tmp_path))
    assert living.exists()
    assert newborn.exists()
    os.close(lock)


def test_what_cannot_be_removed_keeps_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next run finds it again."""
    place = dead(tmp_path)
    monkeypatch.setattr(shutil, "rmtree", lambda *_args, **_options: None)
    folder.remove(place)
    assert (place / "run").read_text() == place.name
    monkeypatch.undo()
    (place / "control").symlink_to("/nowhere")
    folder.remove(place)
    assert not place.exists()


def test_where_no_folder_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no run folder in"):
        folder.create("none", str(tmp_path / "missing"))
