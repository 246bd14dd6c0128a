"""What did not arrive is kept with the event as it came, privately, and can be read back byte for byte."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voucherify_sync.errors import RunStopped, SourceError, UsageProblem
from voucherify_sync.events import BadRecord, Position
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.state.dead_letters import DeadLetter, DeadLetterFile, invalid_key, read_dead_letters


def dead(raw: bytes = b'{"type":"track"}', state: State = State.FAILED, **more: Any) -> Outcome:
    """Make a record that did not arrive."""
    return Outcome(
        BadRecord(Position("logs/a.gz", 17), raw), state, more.pop("reason", "invalid_payload"), **more
    )


def written(path: Path, *outcomes: Outcome) -> list[dict[str, Any]]:
    """Add outcomes to a file and return its lines."""
    with closing(DeadLetterFile(path, "run")) as letters:
        for outcome in outcomes:
            letters.add(outcome)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=["umask-000", "umask-022", "umask-777"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Every umask that a user or a service may have."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_letter_says_what_happened_and_holds_the_event(tmp_path: Path) -> None:
    """The fields of a letter, in their order."""
    outcome = dead(b'{"type":"track","n":1.10}', status=400, response=b'{"key": "invalid_payload"}')
    letter = written(tmp_path / "dead.ndjson", outcome)[0]
    assert list(letter) == ["outcome", "reason", "source", "status", "response", "key", "run", "event"]
    assert letter == {
        "outcome": "failed",
        "reason": "invalid_payload",
        "source": "logs/a.gz:17",
        "status": 400,
        "response": {"key": "invalid_payload"},
        "key": invalid_key(outcome.record.raw).hex(),
        "run": "run",
        "event": {"type": "track", "n": 1.1},
    }
    assert b'"event":{"type":"track","n":1.10}}\n' in (tmp_path / "dead.ndjson").read_bytes()


@pytest.mark.parametrize(
    "state", [s for s in State if s not in (State.INVALID, State.FAILED, State.IN_DOUBT)]
)
def test_what_arrived_or_was_left_out_makes_no_letter_and_no_file(tmp_path: Path, state: State) -> None:
    """The file appears with the first letter."""
    with closing(DeadLetterFile(tmp_path / "dead.ndjson", "run")) as letters:
        letters.add(dead(state=state))
    assert letters.count == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raw", "form", "value"),
    [
        pytest.param(b" {} \r", "event", {}, id="space-around"),
        pytest.param(b"42", "event", 42, id="a-number"),
        pytest.param(b"null", "raw", "null", id="null"),
        pytest.param(b'{"a":', "raw", '{"a":', id="cut-short"),
        pytest.param(b"", "raw", "", id="empty"),
        pytest.param(b'{"a":NaN}', "raw", '{"a":NaN}', id="NaN"),
        pytest.param(b'"\\ud800"', "raw", '"\\ud800"', id="lone-surrogate"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, "raw", "[" * 100_000 + "]" * 100_000, id="too-deep"),
        pytest.param(b'{\n"a":1}', "raw", '{\n"a":1}', id="line-feed"),
        pytest.param(b"\xff\x00", "raw_base64", "/wA=", id="no-text"),
    ],
)
def test_an_event_is_kept_as_json_as_text_or_as_bytes(
    tmp_path: Path, raw: bytes, form: str, value: Any
) -> None:
    """The plainest form that loses nothing."""
    letter = written(tmp_path / "dead.ndjson", dead(raw))[0]
    assert letter[form] == value
    assert list(letter)[7:] == [form]


def test_a_number_of_any_size_is_kept_as_it_came(tmp_path: Path) -> None:
    """Numbers are copied, not computed."""
    raw = b'{"a":1e999,"b":' + b"9" * 5_000 + b"}"
    path = tmp_path / "dead.ndjson"
    with closing(DeadLetterFile(path, "run")) as letters:
        letters.add(dead(raw))
    assert path.read_bytes().endswith(b'"event":' + raw + b"}\n")


@given(
    st.lists(
        st.binary()
        | st.text().map(str.encode)
        | st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(lambda value: json.dumps(value).encode())
    )
)
@example([b"[" * depth + b"]" * depth for depth in (800, 900, 950, 990, 1_000)])
def test_events_are_read_back_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, raws: list[bytes]
) -> None:
    """A letter can be sent again; only white space around a JSON value may be gone."""
    path = tmp_path_factory.mktemp("dead") / "dead.ndjson"
    with closing(DeadLetterFile(path, "run")) as letters:
        for raw in raws:
            letters.add(dead(raw))
    found = [letter.event for _, letter in read_dead_letters(path)] if raws else []
    assert [event is not None and event.strip(b" \t\r") for event in found] == [
        raw.strip(b" \t\r") for raw in raws
    ]


def test_a_letter_read_back_tells_its_end(tmp_path: Path) -> None:
    """`retry` chooses by outcome and reason."""
    path = tmp_path / "dead.ndjson"
    written(path, dead(state=State.IN_DOUBT, reason="read_timeout"))
    line, letter = next(read_dead_letters(path))
    assert line == 1
    assert (letter.outcome, letter.reason, letter.source) == (State.IN_DOUBT, "read_timeout", "logs/a.gz:17")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        pytest.param(None, None, id="none"),
        pytest.param(b"<html>Bad Gateway</html>", "<html>Bad Gateway</html>", id="html"),
        pytest.param(b'{"key": "cut', '{"key": "cut', id="cut-json"),
        pytest.param(b"\xff", "\ufffd", id="no-text"),
        pytest.param(b"x" * 4_096, "x" * 1_000, id="long"),
    ],
)
def test_an_answer_is_kept_as_json_or_as_text(tmp_path: Path, body: bytes | None, shown: Any) -> None:
    """Whatever a proxy answers, the letter stays one line of JSON."""
    assert written(tmp_path / "dead.ndjson", dead(response=body))[0]["response"] == shown


def test_a_file_is_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    """0600: letters hold what customers are called and where they live."""
    path = tmp_path / "dead.ndjson"
    with closing(DeadLetterFile(path, "run")) as letters:
        letters.add(dead())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("letter", "user", "is_theirs"),
    [
        pytest.param({"event": b'{"userId":"u"}'}, "u", True, id="userId"),
        pytest.param({"event": b'{"userId":7}'}, "7", True, id="a number"),
        pytest.param({"event": b'{"userId":7.0}'}, "7", True, id="a number as the mapping writes it"),
        pytest.param({"event": b'{"userId":"v","anonymousId":"u"}'}, "u", True, id="anonymousId"),
        pytest.param({"event": b"{}", "source_id": "u"}, "u", True, id="the id that was sent"),
        pytest.param({"source_id": "u"}, "u", True, id="no event"),
        pytest.param({"event": b'{"userId":true}'}, "True", False, id="no id"),
        pytest.param({"event": b'{"traits":{"id":"u"}}'}, "u", False, id="another id"),
        pytest.param({"event": b"\xff"}, "u", False, id="no JSON"),
    ],
)
def test_whose_a_letter_is(letter: dict[str, Any], user: str, is_theirs: bool) -> None:
    """By each of the three ids that name a customer."""
    assert DeadLetter(outcome=State.FAILED, **letter).is_of(frozenset({user})) is is_theirs


def test_a_letter_without_its_event_can_be_read_back() -> None:
    """An earlier version kept none; what is known of the record is shown."""
    letter = DeadLetter(
        outcome=State.IN_DOUBT, type="track", name="Paid", message_id="m1", key=b"k", sent_at=1.5
    )
    shown = json.loads(letter.encode())
    assert shown["event"] is None
    assert (shown["type"], shown["name"], shown["messageId"], shown["key"]) == ("track", "Paid", "m1", "6b")


def test_a_named_file_is_added_to(tmp_path: Path) -> None:
    """Letters of an earlier run are not lost."""
    path = tmp_path / "dead.ndjson"
    written(path, dead(b'{"n":1}'))
    assert [letter["event"]["n"] for letter in written(path, dead(b'{"n":2}'))] == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_full_disk_stops_the_run_in_order(tmp_path: Path) -> None:
    """No letter is dropped silently."""
    with pytest.raises(RunStopped, match="No space left") as caught:
        DeadLetterFile(Path("/dev/full"), "run").add(dead())
    assert caught.value.remedy


def test_a_short_write_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may cut a write short."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    assert written(tmp_path / "dead.ndjson", dead())[0]["event"] == {"type": "track"}


def test_a_disk_that_fails_at_the_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The letters must be on disk before the run says that they are."""

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    letters = DeadLetterFile(tmp_path / "dead.ndjson", "run")
    letters.add(dead())
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(UsageProblem, match="Input/output error"):
        letters.close()
    letters.close()


@pytest.mark.parametrize(
    "line",
    [b'{"type":"track","userId":"u"}', b"{", b'{"outcome":"failed"}', b'{"outcome":"lost","event":{}}'],
    ids=["an-event", "cut-short", "no-event", "unknown-outcome"],
)
def test_a_line_that_is_no_letter_is_named(tmp_path: Path, line: bytes) -> None:
    """file:line and what to do."""
    path = tmp_path / "dead.ndjson"
    written(path, dead())
    with path.open("ab") as more:
        more.write(line + b"\n")
    with pytest.raises(SourceError, match=r"dead\.ndjson:2: not a dead letter") as caught:
        list(read_dead_letters(path))
    assert caught.value.remedy


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A source that cannot be opened is the user's to mend."""
    with pytest.raises(SourceError, match=r"gone\.ndjson: No such file"):
        list(read_dead_letters(tmp_path / "gone.ndjson"))
