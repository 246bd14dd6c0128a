"""`init` and `check`, as one runs them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from support.cli import Cli

from voucherify_sync.settings import load, template
from voucherify_sync.settings.types import TRACK_ROWS


def test_init_writes_a_file_that_only_its_owner_can_read(run_cli: Cli, tmp_path: Path) -> None:
    """Keys may come to stand in it; stdout stays empty, and stderr says what to do next."""
    ended = run_cli("init")
    file = tmp_path / "voucherify-sync.yaml"
    assert (ended.code, ended.out) == (0, "")
    assert "voucherify-sync plan SOURCE" in ended.err
    assert file.read_text(encoding="utf-8") == template()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_init_names_the_file_in_the_commands_that_come_next(run_cli: Cli, tmp_path: Path) -> None:
    """They can be copied as they stand."""
    assert "check -c 'my settings.yaml'" in run_cli("init", "my settings.yaml").err


@pytest.mark.parametrize("kind", ["file", "dangling link", "folder"])
def test_init_never_overwrites(run_cli: Cli, tmp_path: Path, kind: str) -> None:
    """Whatever has that name stays as it is."""
    file = tmp_path / "s.yaml"
    if kind == "file":
        file.write_text("mine")
    elif kind == "folder":
        file.mkdir()
    else:
        file.symlink_to("nowhere")
    ended = run_cli("init", "s.yaml")
    assert ended.code == 2
    assert "s.yaml is there already" in ended.err
    assert kind != "file" or file.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_init_says_why_a_file_cannot_be_written(run_cli: Cli, tmp_path: Path) -> None:
    """A folder that does not exist is not made."""
    ended = run_cli("init", "no/where.yaml")
    assert (ended.code, "there is no folder no." in ended.err) == (2, True)


def test_check_writes_settings_that_can_be_loaded(run_cli: Cli, tmp_path: Path) -> None:
    """Stdout is YAML, the summary in it a comment; what a live run lacks is a note on stderr, no error."""
    run_cli("init")
    ended = run_cli("check", "--show", env={"VOUCHERIFY_API_KEY": "app"})
    assert ended.code == 0
    assert ended.out.startswith("# Effective settings: voucherify-sync.yaml\n")
    copy = tmp_path / "copy.yaml"
    copy.write_text(ended.out)
    assert load(copy, environment={}).track.mapping == {
        source: [target] for source, target in TRACK_ROWS.items()
    }
    note, verdict = ended.err.splitlines()
    assert verdict == "voucherify-sync.yaml: no mistakes, 3 mapping tests passed"
    assert note.startswith("Before a live run: api.token: the variable VOUCHERIFY_API_TOKEN is not set")


def test_check_without_a_file_shows_the_defaults(run_cli: Cli, tmp_path: Path) -> None:
    """None is needed."""
    ended = run_cli("check", "--show", env={"VOUCHERIFY_API_KEY": "app", "VOUCHERIFY_API_TOKEN": "CANARY"})
    assert (ended.code, ended.err) == (0, "No settings file: the defaults apply\n")
    assert ended.out.startswith("# Effective settings: no file, so the defaults apply\n")
    assert "CANARY" not in ended.out


def test_check_names_all_mistakes_and_ends_in_2(run_cli: Cli, tmp_path: Path) -> None:
    """Nothing is written to stdout, so that no half of the settings ends in a file."""
    (tmp_path / "s.yaml").write_text("tracks: {}\napi: {token: CANARY, url: x}\n")
    ended = run_cli("check", "-c", "s.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "s.yaml:1:1: tracks: no such setting; did you mean track?\n" in ended.err
    assert "s.yaml:2:27: api.url: must begin with https://\n" in ended.err
    assert "CANARY" not in ended.err


def test_check_warns_of_a_secret_that_others_can_read(run_cli: Cli, tmp_path: Path) -> None:
    """A warning is no error."""
    file = tmp_path / "s.yaml"
    file.write_text("api: {key: app, token: CANARY}\n")
    file.chmod(0o644)
    ended = run_cli("check", "--config", "s.yaml")
    assert ended.code == 0
    assert ended.err.splitlines() == [
        "Warning: s.yaml holds a key and is open to other users; `chmod 600 s.yaml`, or keep the key in a variable",
        "s.yaml: no mistakes, 1 warning",
    ]
    assert "CANARY" not in ended.out
