"""A ledger of the version before: it knows each of its records, can be read as it is, and is migrated once.

`data/version-1.*` were left by a run that was followed by one that was killed while a bulk request was under way. The
archive has events with and without messageId, numbers and floats for one, envelopes, an array, and text to repair.
"""

from __future__ import annotations

import json
import shutil
from base64 import b64decode
from collections import Counter
from pathlib import Path

import pytest
from support.cli import Cli, Ended
from support.replays import outcomes_of

from voucherify_sync.sandbox import Sandbox
from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.state.ledger_reader import LedgerCounts, LedgerReader

DATA = Path(__file__).parents[1] / "data"
REFUSED = ["version-1.ndjson:2", "version-1.ndjson:14"]
NEW = {"page": "metadata.new", "screen": "metadata.new", "group": "customer.metadata.new"}
"""Types of events that the version before did not send -> a place of their requests."""
BULK = '{"type": "identify", "userId": "u6", "messageId": "i-6", "traits": {"name": "Six"}}\n'
SETTINGS = """
api: {{url: '{url}', key: version-1-key, token: secret}}
identify: {{extend_default: true, mapping: {{messageId: customer.metadata.message_id}}}}
track: {{extend_default: true, mapping: {{messageId: metadata.message_id}}}}
delivery: {{workers: 1, on_doubt: hold, ledger: version-1.ledger}}
"""


@pytest.fixture
def folder(run_cli: Cli, sandbox: Sandbox) -> Path:
    """Return a folder with the ledger, the archive, and settings that lead to a sandbox at another port."""
    for file in DATA.glob("version-1*"):
        if "dead-letters" not in file.name:
            shutil.copy(file, run_cli.folder)
    (run_cli.folder / "voucherify-sync.yaml").write_text(SETTINGS.format(url=sandbox.url))
    return run_cli.folder


def keep_old_letters(cli: Cli) -> None:
    """Put the dead letters where the version before kept them."""
    place = cli.state / "voucherify-sync" / "dead-letters"
    place.mkdir(parents=True)
    shutil.copy(DATA / "version-1-dead-letters.ndjson", place / "20261130-033523-764c.ndjson")


def replay(cli: Cli, *args: str, stdin: str = "") -> Ended:
    """Replay the archive, or a pipe, with a report."""
    return cli("replay", "--yes", "--report", "report.json", *args, stdin=stdin)


def test_it_is_read_without_being_migrated(run_cli: Cli, folder: Path) -> None:
    """Every command that only reads finds in it what it finds in one of this version."""
    before = {file.name: file.read_bytes() for file in folder.glob("version-1*")}
    status = json.loads(run_cli("status", "--json").out)
    assert status["delivered"] == {"customers": 1, "events": 16, "orders": 0}
    assert status["failed"] == {"total": 2, "without_event": 2, "reasons": {"http_400": 2}}
    assert status["in_doubt"] == 1
    assert [run["command"] for run in status["runs"]] == [None, None]
    (doubt,) = run_cli("status", "--doubt").lines
    assert (doubt["messageId"], doubt["event"], doubt["reason"]) == ("n-7", None, "reset")
    assert len(run_cli("replay", "--dry-run", "version-1.ndjson").lines) == 0
    assert json.loads(run_cli("plan", "--json", "version-1.ndjson").out)["ledger"]
    assert {file.name: file.read_bytes() for file in folder.glob("version-1*")} == before | {
        name: (folder / name).read_bytes() for name in ["version-1.ledger-shm"] if (folder / name).exists()
    }


def test_the_same_archive_sends_nothing(run_cli: Cli, folder: Path, sandbox: Sandbox) -> None:
    """Each record is known by its key; what failed stays failed, what is in doubt stays so. Twice."""
    for options in (["--same-project"], []):
        ended = replay(run_cli, *options, "version-1.ndjson")
        assert ended.code == 3
        assert outcomes_of(run_cli) == {"duplicate": 17, "failed": 2, "in_doubt": 1, "invalid": 1}
    assert sandbox.call_log.calls == 0


def test_failed_records_get_their_events_from_the_old_files(
    run_cli: Cli, folder: Path, sandbox: Sandbox
) -> None:
    """By their keys, at the first run that may write; `retry` then has something to send."""
    keep_old_letters(run_cli)
    assert replay(run_cli, "--same-project", "-", stdin=BULK).code == 0
    failed = run_cli("status", "--failed").lines
    assert [(letter["source"], letter["status"]) for letter in failed] == [(place, 400) for place in REFUSED]
    assert failed[0]["event"]["messageId"] == "i-refused"
    assert b"latin-1" in b64decode(failed[1]["raw_base64"])
    assert run_cli("retry", "--yes").code == 3
    sent = [done.metadata["message_id"] for done in sandbox.call_log.processed]
    assert sent == ["i-6", "i-refused", "latin-1"]
    with LedgerReader(folder / "version-1.ledger") as ledger:
        assert ledger.counts() == LedgerCounts(3, 17, in_doubt=1)


def test_failed_records_get_their_events_when_they_are_read_again(
    run_cli: Cli, folder: Path, sandbox: Sandbox
) -> None:
    """Until then `status` and `retry` count them apart, and say what to do."""
    ended = run_cli("retry", "--yes", "--same-project")
    assert ended.code == 0
    assert "2 failed before this version" in ended.err
    assert "Nothing to retry" in ended.err
    assert replay(run_cli, "--same-project", "version-1.ndjson").code == 3
    assert [letter["source"] for letter in run_cli("status", "--failed").lines] == REFUSED
    assert run_cli("status", "--doubt").lines[0]["event"]["messageId"] == "n-7"
    assert run_cli("retry", "--yes").code == 3
    assert len(sandbox.call_log.processed) == 2
    assert "failed before this version" not in run_cli("status").out


def test_an_action_that_was_under_way_is_polled(run_cli: Cli, folder: Path, sandbox: Sandbox) -> None:
    """The request is not posted again before it is known how the action went."""
    run_cli.constants["voucherify_sync.voucherify.bulk._FIRST_PAUSE_S"] = 0.02
    assert replay(run_cli, "--same-project", "--bulk", "-", stdin=BULK).code == 0
    assert sandbox.call_log.answered[0].path == "/v1/async-actions/aa_779c1ef24d37e77a7d"


@pytest.mark.parametrize("ways", [[[], ["--bulk"]], [["--bulk"], []]], ids=["each, bulk", "bulk, each"])
def test_pages_screens_and_groups_are_sent_once_they_are_on(
    run_cli: Cli, folder: Path, ways: list[list[str]]
) -> None:
    """The version before sent none of them. Each is sent once, whatever way and mapping, until `--again`."""
    run_cli.constants["voucherify_sync.voucherify.bulk._FIRST_PAUSE_S"] = 0.02
    lines = 2 * "".join(
        json.dumps({"type": kind, "userId": "u7", "messageId": f"{kind}-7", "groupId": "g"}) + "\n"
        for kind in NEW
    )
    refusal = Fault(action="status", code=400, path="/v1/events", last=1)
    with Sandbox(SandboxOptions(keep=None), [refusal]) as sandbox:

        def write_settings(more: str) -> None:
            settings = "".join(f"{kind}: {more.format(place)}\n" for kind, place in NEW.items())
            (folder / "voucherify-sync.yaml").write_text(SETTINGS.format(url=sandbox.url) + settings)

        def ends(*args: str) -> dict[str, int]:
            replay(run_cli, *args, "-", stdin=lines)
            return outcomes_of(run_cli)

        write_settings("{{}}")
        assert ends("--same-project") == {"skipped": 6}
        write_settings("{{disabled: false}}")
        assert ends(*ways[0]) == {"delivered": 2, "failed": 1, "duplicate": 3}
        assert ends(*ways[1]) == {"failed": 1, "duplicate": 5}
        assert run_cli("retry", "--yes").code == 0
        for more in ("{{disabled: false}}", "{{disabled: false, add: {{{}: true}}}}"):
            write_settings(more)
            assert [ends(*way) for way in ways] == [{"duplicate": 6}] * 2
        assert Counter(done.name for done in sandbox.call_log.processed) == {"page": 1, "screen": 1, None: 1}
        assert [ends("--again", *way) for way in ways] == [{"delivered": 3, "duplicate": 3}] * 2
        assert Counter(done.name for done in sandbox.call_log.processed) == {"page": 3, "screen": 3, None: 3}


def test_failed_records_without_an_event_can_be_given_up(
    run_cli: Cli, folder: Path, sandbox: Sandbox
) -> None:
    """They are dismissed, and no run counts them any more."""
    assert replay(run_cli, "--same-project", "-", stdin=BULK).code == 0
    assert run_cli("forget", "--failed", "--yes").code == 0
    assert json.loads(run_cli("status", "--json").out)["dismissed"] == 2
    replay(run_cli, "version-1.ndjson")
    assert outcomes_of(run_cli) == {"duplicate": 19, "in_doubt": 1, "invalid": 1}
