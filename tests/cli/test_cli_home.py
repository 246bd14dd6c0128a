"""A user without a home directory, as in a container: what needs a place says so, and all else works."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.cli import Cli
from support.replays import identify, settings_for

from voucherify_sync.errors import UsageProblem
from voucherify_sync.sandbox.server import Sandbox
from voucherify_sync.settings.environment import expanded, state_directory

NO_PASSWD = """\
import pwd

def getpwuid(uid):
    raise KeyError(uid)

pwd.getpwuid = getpwuid
"""

HOMES = [
    pytest.param({}, id="unset"),
    pytest.param({"HOME": ""}, id="empty"),
    pytest.param({"HOME": "relative"}, id="relative"),
    pytest.param({"HOME": "", "XDG_STATE_HOME": ""}, id="state-empty"),
    pytest.param({"XDG_STATE_HOME": "relative"}, id="state-relative"),
]


@pytest.fixture
def homeless(run_cli: Cli) -> Cli:
    """Return the command line of a user who has no passwd entry."""
    run_cli.env = {"PATH": os.environ["PATH"]}
    run_cli.before = NO_PASSWD
    (run_cli.folder / "events.ndjson").write_text(identify(1))
    (run_cli.folder / "broken.ndjson").write_text(identify(1) + "broken\n")
    return run_cli


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("words", [["replay", "--yes", "events.ndjson"], ["status"]], ids=" ".join)
def test_what_needs_the_state_directory_names_the_two_ways_out(
    homeless: Cli, sandbox: Sandbox, home: dict[str, str], words: list[str]
) -> None:
    """And nothing is sent, and no folder called ~ is made."""
    settings_for(homeless, sandbox).rename(homeless.folder / "voucherify-sync.yaml")
    before = sorted(homeless.folder.iterdir())
    ended = homeless(*words, env=home)
    assert ended.code == 2
    assert "--ledger FILE" in ended.err
    assert "XDG_STATE_HOME" in ended.err
    assert "Traceback" not in ended.err
    assert sandbox.counts()[2] == 0
    assert sorted(homeless.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("--version", 0),
        ("check", 0),
        ("init new.yaml", 0),
        ("plan events.ndjson", 0),
        ("coverage events.ndjson", 0),
        ("explain events.ndjson", 0),
        ("replay --dry-run events.ndjson", 0),
        ("replay --sandbox events.ndjson", 0),
        ("replay --sandbox broken.ndjson", 3),
        ("replay --sandbox --dead-letters dead.ndjson broken.ndjson", 3),
    ],
)
def test_what_needs_no_state_directory_works_without(homeless: Cli, words: str, code: int) -> None:
    """A container is a good place for a preview."""
    ended = homeless(*words.split())
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err


def test_a_named_ledger_needs_no_home(homeless: Cli, sandbox: Sandbox) -> None:
    """The sentence is true: with --ledger the same run works."""
    settings = settings_for(homeless, sandbox)
    words = ["replay", "-c", settings, "--yes", "--new-ledger", "--ledger", "my.ledger", "broken.ndjson"]
    assert homeless(*words).code == 3
    status = homeless("status", "-c", settings, "--ledger", "my.ledger", "--json")
    assert json.loads(status.out)["delivered"]["customers"] == 1


@pytest.mark.parametrize("home", HOMES[:3])
@pytest.mark.parametrize(
    ("settings", "words", "code"),
    [
        pytest.param("api: {key: a, token: b}\ndelivery: {ledger: ~/my.ledger}", "status", 2, id="ledger"),
        pytest.param("api: {key: a, token_file: ~/token}", "replay --yes events.ndjson", 2, id="token"),
        pytest.param("api: {key: a, token_file: ~/token}", "check", 0, id="a-note-on-the-token"),
        pytest.param("tests: [{name: a, event: '~/x:1', expect_skipped: no_id}]", "check", 2, id="test"),
    ],
)
def test_a_tilde_that_stands_for_nothing_is_named(
    homeless: Cli, home: dict[str, str], settings: str, words: str, code: int
) -> None:
    """It is neither a folder called ~ nor the root of the file system."""
    (homeless.folder / "voucherify-sync.yaml").write_text(settings)
    ended = homeless(*words.split(), env=home)
    assert ended.code == code
    assert "~ cannot be resolved, because there is no home directory. Write the whole path" in " ".join(
        ended.err.split()
    )


def test_a_home_that_is_empty_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """`HOME=` is as good as none: the passwd entry says where it is."""
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr("pwd.getpwuid", lambda _: type("Entry", (), {"pw_dir": "/home/ann"}))
    assert expanded("~/my.ledger") == Path("/home/ann/my.ledger")
    assert expanded("~") == Path("/home/ann")
    assert expanded("my/~.ledger") == Path("my/~.ledger")


def test_the_home_of_nobody_is_a_problem() -> None:
    """`~name` of a user that the system does not know."""
    with pytest.raises(UsageProblem, match="~nobody-of-that-name/x"):
        expanded("~nobody-of-that-name/x")


def test_a_state_directory_is_never_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Older versions of platformdirs take a relative XDG_STATE_HOME as it is, and leave ~ where there is no home."""
    for path in ("state/voucherify-sync", "~/.local/state/voucherify-sync"):
        monkeypatch.setattr("platformdirs.user_state_path", lambda *_, path=path, **__: Path(path))
        with pytest.raises(UsageProblem, match="no state directory") as caught:
            state_directory()
        assert "--ledger" in caught.value.remedy
