"""`replay --bulk` as its users meet it: few calls, the newest profiles, and nothing lost on the way."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support.cli import Cli, Ended
from support.ledger_parts import make_ledger
from support.replays import assert_lawful, outcomes_of, reasons_of, report_of, settings_for
from support.waiting import wait_until

from voucherify_sync.sandbox.faults import Fault
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

BULK = "/v1/customers/bulk/async"
AGE = {"related_object": "customer", "properties": {"age": {"type": "number"}}}


def identify(user: str, when: int | None = None, message: str | None = None, **traits: Any) -> str:
    """Return an identify as a line; `when` is a day of March 2024."""
    return _line("identify", user, when, message, traits=traits)


def track(user: str, when: int | None = None, message: str | None = None, **properties: Any) -> str:
    """Return a track as a line."""
    return _line("track", user, when, message, event="Order Completed", properties=properties)


def _line(kind: str, user: str, when: int | None, message: str | None, **parts: Any) -> str:
    event = {"type": kind, "userId": user, **parts}
    event["messageId"] = message or json.dumps([kind, user, when, parts], sort_keys=True)
    if when is not None:
        event["timestamp"] = f"2024-03-{when:02d}T12:00:00Z"
    return json.dumps(event) + "\n"


class Bench:
    """The command line, and the settings that lead it to a sandbox."""

    def __init__(self, cli: Cli, sandbox: Sandbox) -> None:
        self.cli = cli
        self.sandbox = sandbox
        self.settings = cli.folder / "settings.yaml"
        cli.constants["voucherify_sync.voucherify.bulk._FIRST_PAUSE_S"] = 0.02
        self.write_settings()

    def write_settings(self, more: str = "") -> None:
        """Write the settings anew."""
        settings_for(self.cli, self.sandbox, more)

    def command(self, *args: str | Path) -> list[str | Path]:
        """Return the arguments of a live run with a report."""
        return ["replay", "-c", self.settings, "--yes", "--bulk", "--report", "report.json", *args]

    def replay(self, *args: str | Path, stdin: str = "") -> Ended:
        """Replay, and check the law."""
        ended = self.cli(*self.command(*args), stdin=stdin)
        assert "Traceback" not in ended.err
        assert_lawful(self.report)
        return ended

    @property
    def report(self) -> dict[str, Any]:
        """The report of the last run."""
        return report_of(self.cli)

    def outcomes(self) -> dict[str, int]:
        """Return the states that records of the last run ended in."""
        return outcomes_of(self.cli)

    def reasons(self, state: str) -> dict[str, int]:
        """Return how often records of the last run ended so, by reason."""
        return reasons_of(self.cli, state)

    def letters(self) -> list[dict[str, Any]]:
        """Return the failed records that the ledger keeps."""
        return self.cli("status", "--failed", "-c", self.settings).lines

    def calls(self, path: str) -> int:
        """Return how many calls of a path the sandbox saw."""
        return sum(call.path == path for call in self.sandbox.call_log.answered)

    def file(self, name: str, lines: Iterable[str]) -> Path:
        """Write an archive."""
        file = self.cli.folder / name
        file.write_text("".join(lines))
        return file


@pytest.fixture
def bench(run_cli: Cli, sandbox: Sandbox) -> Bench:
    """Return the command line before a well-behaved sandbox."""
    return Bench(run_cli, sandbox)


def profiles(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Return what the sandbox holds of each customer."""
    return {
        str(customer.source_id): {
            "name": customer.name,
            "email": customer.email,
            "phone": customer.phone,
            "address": customer.address,
            "metadata": customer.metadata,
        }
        for customer in sandbox.store.customers
    }


def test_customers_go_first_in_one_request_and_events_only_name_them(bench: Bench) -> None:
    """One bulk request, its polls, and one call an event; an old event overwrites no profile."""
    lines = [
        identify("a", 9, email="new@example.com"),
        identify("a", 1, email="old@example.com", phone="1"),
        track("a", 5, email="between@example.com", total=3),
        identify("b", 2, name="Berta"),
    ]
    ended = bench.replay("-", stdin="".join(lines))
    assert ended.code == 0
    assert bench.outcomes() == {"delivered": 4}
    assert bench.calls(BULK) == 1
    assert [event.name for event in bench.sandbox.store.events] == ["Order Completed"]
    assert [done.body for done in bench.sandbox.call_log.processed if done.name] == [
        {"event": "Order Completed", "customer": {"source_id": "a"}}
    ]
    kept = profiles(bench.sandbox)
    assert (kept["a"]["email"], kept["a"]["phone"], kept["b"]["name"]) == ("new@example.com", "1", "Berta")
    bulk = bench.report["bulk"]
    assert bulk["polls"] >= 1
    assert {key: bulk[key] for key in ("updates", "delivered", "failed", "unchanged", "requests")} == {
        "updates": 4,
        "delivered": 2,
        "failed": 0,
        "unchanged": 0,
        "requests": 1,
    }
    assert bench.report["api"]["calls"] == 1 + bulk["polls"] + 1
    assert "folded from 4 records with fields of a customer, in 1 request" in ended.err


def test_bulk_leaves_the_same_customers_as_each_in_time_order(run_cli: Cli) -> None:
    """Whatever order the files are read in."""
    rng = random.Random(7)
    events = []
    for number in range(300):
        traits = {
            name: f"{name}-{number}" for name in rng.sample(["name", "email", "phone", "description"], k=2)
        }
        traits["address"] = {key: f"{key}-{number}" for key in rng.sample(["city", "street", "country"], k=1)}
        traits["metadata"] = {rng.choice("xyz"): number}
        make = identify if rng.random() < 0.6 else track
        events.append((rng.randrange(1, 29), f"m{number:03d}", make, f"u{rng.randrange(20)}", traits))
    events.sort(key=lambda event: event[:2])
    in_order = [make(user, when, message, **traits) for when, message, make, user, traits in events]
    shuffled = rng.sample(in_order, len(in_order))

    def left_by(option: str, lines: list[str]) -> dict[str, dict[str, Any]]:
        with Sandbox(SandboxOptions(keep=None)) as sandbox:
            here = Bench(run_cli, sandbox)
            parts = [here.file(f"{option}{n}.ndjson", lines[n::3]) for n in range(3)]
            if option == "--each":
                parts = [here.file("all.ndjson", lines)]
            ledger = make_ledger(run_cli.folder / f"{option}.ledger", sandbox.url, "sandbox-app")
            ended = run_cli("replay", "-c", here.settings, "--yes", option, "--ledger", ledger, *parts)
            assert ended.code == 0, ended.err
            return profiles(sandbox)

    one_by_one = left_by("--each", in_order)
    assert len(one_by_one) == 20
    assert left_by("--bulk", shuffled) == one_by_one


@pytest.mark.parametrize(
    ("between", "way"),
    [(identify, "--bulk"), (identify, "--each"), (track, "--each")],
    ids=["an older one in bulk", "an older one", "an event with fields"],
)
def test_what_a_customer_held_before_the_last_update_is_sent_again(
    bench: Bench, between: Any, way: str
) -> None:
    """Equal to what was sent first is not equal to what was sent last, whatever the times of both."""
    first = bench.file("1.ndjson", [identify("u", 2, "m1", email="a@example.com")])
    second = bench.file("2.ndjson", [between("u", 1, "m2", email="b@example.com")])
    third = bench.file("3.ndjson", [identify("u", 3, "m3", email="a@example.com")])
    for option, file in (("--bulk", first), (way, second), ("--bulk", third)):
        bench.replay(option, file)
    assert profiles(bench.sandbox)["u"]["email"] == "a@example.com"


def test_what_was_sent_is_not_sent_again(bench: Bench) -> None:
    """The ledger knows each folded record; a second run makes no call."""
    archive = bench.file("a.ndjson", [identify("a", 1, email="a@example.com"), track("a", 2)])
    bench.replay(archive)
    before = len(bench.sandbox.call_log.answered)
    bench.replay(archive)
    assert bench.outcomes() == {"duplicate": 2}
    assert bench.reasons("duplicate") == {"delivered": 2}
    assert len(bench.sandbox.call_log.answered) == before
    bench.replay("--each", archive)
    assert bench.outcomes() == {"duplicate": 2}


def test_known_updates_take_part_in_the_fold_of_a_customer_with_a_new_one(bench: Bench) -> None:
    """A new record that is older than what was sent changes only what nothing newer speaks of."""
    newer = identify("a", 9, email="new@example.com")
    bench.replay("-", stdin=newer + identify("b", 1, name="B"))
    bench.replay("-", stdin=newer + identify("a", 1, email="old@example.com", phone="1"))
    assert bench.outcomes() == {"delivered": 1, "duplicate": 1}
    kept = profiles(bench.sandbox)
    assert (kept["a"]["email"], kept["a"]["phone"]) == ("new@example.com", "1")
    assert bench.report["bulk"]["delivered"] == 1


def test_a_customer_of_whom_nothing_has_changed_is_not_sent(bench: Bench) -> None:
    """A new record that says the same is a duplicate, reason `unchanged`; --again sends it."""
    traits = {"email": "a@example.com"}
    bench.replay("-", stdin=identify("a", 1, **traits))
    bench.replay("-", stdin=identify("a", 2, **traits))
    assert bench.reasons("duplicate") == {"unchanged": 1}
    assert bench.calls(BULK) == 1
    bench.replay("--again", "-", stdin=identify("a", 2, **traits))
    assert bench.outcomes() == {"delivered": 1}
    assert bench.calls(BULK) == 2


def test_a_profile_that_returns_to_what_it_was_is_sent_again(bench: Bench) -> None:
    """The request is the one of before to the byte, and it is not taken for accepted already."""
    for day, name in ((1, "Ann"), (2, "Anna"), (3, "Ann")):
        bench.replay("-", stdin=identify("a", day, name=name))
        assert bench.outcomes() == {"delivered": 1}
    assert profiles(bench.sandbox)["a"]["name"] == "Ann"
    assert bench.calls(BULK) == 3


def test_a_dry_run_prints_a_line_a_customer_then_the_events(run_cli: Cli) -> None:
    """The path is that of the bulk call, the body that customer; nothing else is different."""
    lines = (
        identify("b", 2, name="B") + track("a", 3) + identify("a", 1, email="x") + identify("a", 2, email="y")
    )
    ended = run_cli("replay", "--dry-run", "--bulk", "-", stdin=lines)
    assert ended.code == 0
    assert [(line["path"], line["body"]) for line in ended.lines] == [
        (BULK, {"source_id": "a", "email": "y"}),
        (BULK, {"source_id": "b", "name": "B"}),
        ("/v1/events", {"event": "Order Completed", "customer": {"source_id": "a"}}),
    ]
    assert [(line["source"], line["method"]) for line in ended.lines] == [
        (None, "POST"),
        (None, "POST"),
        ("-:2", "POST"),
    ]


def test_the_settings_choose_and_each_overrides_them(run_cli: Cli) -> None:
    """`delivery.customers: bulk` is `--bulk`."""
    settings = run_cli.folder / "settings.yaml"
    settings.write_text("delivery: {customers: bulk}\n")
    line = identify("a", 1, name="A")
    paths = [
        run_cli("replay", "-c", settings, "--dry-run", *more, "-", stdin=line).lines[0]["path"]
        for more in ([], ["--each"], ["--bulk"])
    ]
    assert paths == [BULK, "/v1/customers", BULK]


def test_a_refused_customer_fails_with_its_records_and_its_events_are_not_sent(run_cli: Cli) -> None:
    """Each folded record is a dead letter with the event as it came; `retry` sends them, one by one."""
    with Sandbox(SandboxOptions(keep=None, metadata_schemas=(AGE,))) as sandbox:
        bench = Bench(run_cli, sandbox)
        bad = [identify("bad", 1, metadata={"age": "forty"}), identify("bad", 2, name="Bad"), track("bad", 3)]
        archive = bench.file("a.ndjson", [*bad, identify("good", 1), track("good", 2)])
        assert bench.replay(archive).code == 3
        assert bench.outcomes() == {"delivered": 2, "failed": 3}
        assert bench.reasons("failed") == {"metadata_validation_failed": 2, "customer_refused": 1}
        assert [letter["event"] for letter in bench.letters()] == [json.loads(line) for line in bad]
        assert "forty" not in json.dumps([letter["response"] for letter in bench.letters()])
        assert [str(customer.source_id) for customer in sandbox.store.customers] == ["good"]

        bench.replay(archive)
        assert bench.outcomes() == {"duplicate": 2, "failed": 3}
        assert bench.reasons("failed") == {"failed_before": 3}
        assert bench.reasons("duplicate") == {"delivered": 2}
        assert bench.calls(BULK) == 1

        bench.replay(bench.file("twice.ndjson", [*bad, *bad]))
        assert bench.reasons("duplicate") == {"repeated": 3}
        assert bench.calls(BULK) == 1

        bench.cli("retry", "-c", bench.settings, "--yes")
        assert bench.calls(BULK) == 1


def test_what_was_refused_is_retried_one_by_one(run_cli: Cli) -> None:
    """`retry` needs no fold, whatever the settings say."""
    with Sandbox(SandboxOptions(keep=None), [Fault(action="fail_action", path=BULK)]) as sandbox:
        bench = Bench(run_cli, sandbox)
        bench.write_settings("delivery: {customers: bulk}\n")
        assert bench.replay("-", stdin=identify("a", 1, name="A") + track("a", 2)).code == 3
        ended = bench.cli("retry", "-c", bench.settings, "--yes")
        assert ended.code == 0, ended.err
        assert (profiles(sandbox)["a"]["name"], len(sandbox.store.events)) == ("A", 1)
        assert bench.calls("/v1/customers") == 1


def test_a_limit_holds_for_both_walks(run_cli: Cli) -> None:
    """The first N records are read, twice."""
    lines = identify("a", 1) + track("a", 2) + identify("b", 1)
    ended = run_cli("replay", "--dry-run", "--bulk", "--limit", "2", "-", stdin=lines)
    assert [line["path"] for line in ended.lines] == [BULK, "/v1/events"]


def test_filters_hold_for_the_fold(run_cli: Cli) -> None:
    """Who is left out is not folded either."""
    lines = identify("a", 1, name="A") + identify("b", 9, name="B") + track("b", 9, email="x")
    ended = run_cli("replay", "--dry-run", "--bulk", "--until", "2024-03-05", "-", stdin=lines)
    assert [line["body"] for line in ended.lines] == [{"source_id": "a", "name": "A"}]
    ended = run_cli("replay", "--dry-run", "--bulk", "--user", "b", "--type", "identify", "-", stdin=lines)
    assert [line["body"] for line in ended.lines] == [{"source_id": "b", "name": "B"}]


def test_every_customer_may_be_refused(run_cli: Cli) -> None:
    """Then every record fails, and none is lost."""
    with Sandbox(SandboxOptions(keep=None, metadata_schemas=(AGE,))) as sandbox:
        bench = Bench(run_cli, sandbox)
        lines = [identify(f"u{n}", 1, metadata={"age": "x"}) + track(f"u{n}", 2) for n in range(200)]
        assert bench.replay("-", stdin="".join(lines)).code == 3
        assert bench.outcomes() == {"failed": 400}
        assert bench.calls(BULK) == 1


def test_a_changed_mapping_sends_what_failed(run_cli: Cli) -> None:
    """What failed is new once its request differs."""
    with Sandbox(SandboxOptions(keep=None, metadata_schemas=(AGE,))) as sandbox:
        bench = Bench(run_cli, sandbox)
        archive = bench.file("a.ndjson", [identify("a", 1, metadata={"age": "x"}, email="a@example.com")])
        bench.replay(archive)
        bench.write_settings("identify: {mapping: {traits.email: customer.email}}\n")
        assert bench.replay(archive).code == 0
        assert profiles(sandbox)["a"]["email"] == "a@example.com"


def test_customers_named_by_voucherifys_own_id_go_one_by_one(bench: Bench) -> None:
    """A bulk request knows customers by source_id only."""
    bench.replay("-", stdin=identify("a", 1, name="A"))
    (customer,) = bench.sandbox.store.customers
    bench.write_settings("identify: {mapping: {traits.vid: customer.id, traits.name: customer.name}}\n")
    bench.replay("-", stdin=identify("x", 2, vid=customer.id, name="Z") + identify("b", 2, name="B"))
    assert bench.outcomes() == {"delivered": 2}
    assert {p["name"] for p in profiles(bench.sandbox).values()} == {"Z", "B"}
    assert bench.calls("/v1/customers") == 1


def test_untimed_and_out_of_range_times_are_older_than_all_others(bench: Bench) -> None:
    """They are folded, not refused."""
    odd = identify("a", 1, "odd", name="odd", phone="1").replace("2024-03-01T", "99999-03-01T")
    lines = identify("a", 5, name="timed") + odd + identify("a", None, "z", name="untimed", email="e")
    bench.replay("-", stdin=lines)
    kept = profiles(bench.sandbox)["a"]
    assert (kept["name"], kept["phone"], kept["email"]) == ("timed", "1", "e")


def test_a_named_pipe_is_read_once_and_used_twice(bench: Bench) -> None:
    """It is copied to a private file, which is gone afterwards."""
    pipe, spools = bench.cli.folder / "pipe", bench.cli.folder / "spools"
    os.mkfifo(pipe)
    spools.mkdir()
    bench.cli.env["TMPDIR"] = str(spools)
    with bench.cli.start(*bench.command(pipe)) as run:
        pipe.write_text(identify("a", 1, name="A") + track("a", 2))
        assert run.wait(60) == 0
    assert bench.outcomes() == {"delivered": 2}
    assert list(spools.iterdir()) == []


def test_nobody_else_can_read_the_copy_of_stdin(bench: Bench) -> None:
    """0600 in a directory of 0700, while the run is waiting for more."""
    spools = bench.cli.folder / "spools"
    spools.mkdir()
    bench.cli.env["TMPDIR"] = str(spools)
    with bench.cli.start(*bench.command("-"), stdin=subprocess.PIPE) as run:
        assert run.stdin is not None
        run.stdin.write(identify("a", 1).encode())
        run.stdin.flush()
        copy = wait_until(lambda: next(spools.glob("*/*"), None))
        assert copy.stat().st_mode & 0o777 == 0o600
        assert copy.parent.stat().st_mode & 0o777 == 0o700
        run.stdin.close()
        assert run.wait(60) == 0
    assert list(spools.iterdir()) == []


def test_lines_that_are_added_meanwhile_are_left_for_the_next_run(run_cli: Cli) -> None:
    """A record that was not folded is never counted as delivered."""
    with Sandbox(SandboxOptions(keep=None, async_delay_s=1)) as sandbox:
        bench = Bench(run_cli, sandbox)
        archive = bench.file("a.ndjson", [identify("a", 1, name="A")])
        with run_cli.start(*bench.command(archive)) as run:
            wait_until(lambda: bench.calls(BULK))
            with archive.open("a") as file:
                file.write(identify("late", 1))
            assert run.wait(60) == 0
        assert bench.report["events"]["read"] == 1
        assert bench.outcomes() == {"delivered": 1}


def test_a_run_that_was_killed_before_its_action_was_over_asks_after_it(run_cli: Cli) -> None:
    """The request was accepted, so it is not posted a second time."""
    now = [time.time()]
    with Sandbox(SandboxOptions(keep=None, async_delay_s=1.5), clock=lambda: now[0]) as sandbox:
        bench = Bench(run_cli, sandbox)
        archive = bench.file(
            "a.ndjson", [identify(f"u{n}", 1, name=str(n)) + track(f"u{n}", 2) for n in range(20)]
        )
        with run_cli.start(*bench.command(archive)) as run:
            wait_until(lambda: bench.calls(BULK))
            wait_until(lambda: len(sandbox.call_log.answered) > 1)
            run.send_signal(signal.SIGKILL)
        assert not sandbox.store.customers
        now[0] += 10
        assert bench.replay(archive).code == 0
        assert bench.calls(BULK) == 1
        assert bench.outcomes() == {"delivered": 40}
        assert len(sandbox.store.customers) == 20
        assert len(sandbox.store.events) == 20


def test_a_run_that_was_killed_among_its_events_sends_no_customer_again(run_cli: Cli) -> None:
    """What the customers were sent is remembered before the first event goes."""
    with Sandbox(SandboxOptions(keep=None, latency_s=0.05)) as sandbox:
        bench = Bench(run_cli, sandbox)
        archive = bench.file(
            "a.ndjson", [identify(f"u{n}", 1, name=str(n)) + track(f"u{n}", 2) for n in range(120)]
        )
        with run_cli.start(*bench.command("--workers", "2", archive)) as run:
            wait_until(lambda: bench.calls("/v1/events") > 20)
            run.send_signal(signal.SIGKILL)
        ended = bench.replay("--workers", "32", archive)
        assert ended.code in (0, 3)
        assert bench.calls(BULK) == 1
        outcomes = bench.outcomes()
        assert outcomes["duplicate"] + outcomes["delivered"] + outcomes.get("in_doubt", 0) == 240
        sent = [json.dumps(done.body) for done in sandbox.call_log.processed if done.name]
        assert len(sent) == len(set(sent))


def test_a_run_in_pieces_leaves_the_same_sums_as_one_in_one_go(run_cli: Cli) -> None:
    """An update that the first piece sent and did not come to in its second reading counts as delivered, too."""
    texts = [
        track(f"u{n % 9}", 1, f"t{n}") for n in range(11_000)
    ]  # more than are read ahead of the first answers
    texts += [identify(f"u{n}", 2, name=str(n)) for n in range(9)]
    with Sandbox(SandboxOptions(keep=None)) as sandbox:
        bench = Bench(run_cli, sandbox)
        archive = bench.file("a.ndjson", texts)
        assert bench.replay("--max-calls", "4", archive).code == 4
        assert "identify" not in bench.report["events"]["by_type"]
        assert bench.replay("--type", "identify", archive).code == 0
        assert bench.reasons("duplicate") == {"unchanged": 9}
        assert bench.calls(BULK) == 1
        status = json.loads(run_cli("status", "-c", bench.settings, "--json").out)
        assert status["delivered"]["customers"] == 9
        bench.replay("--type", "identify", archive)
        assert bench.reasons("duplicate") == {"delivered": 9}


def test_an_interrupted_run_tells_that_its_records_are_still_to_do(run_cli: Cli) -> None:
    """Read, and undecided: pending; the same command goes on."""
    with Sandbox(SandboxOptions(keep=None, async_delay_s=600)) as sandbox:
        bench = Bench(run_cli, sandbox)
        archive = bench.file("a.ndjson", [identify("a", 1), track("a", 2)])
        with run_cli.start(*bench.command(archive)) as run:
            wait_until(lambda: bench.calls(BULK))
            run.send_signal(signal.SIGINT)
            assert run.wait(60) == 130
        assert bench.outcomes() == {"pending": 2}
        assert bench.report["events"]["by_type"] == {"identify": 1, "track": 1}


def test_a_spent_number_of_calls_stops_before_the_events(bench: Bench) -> None:
    """Exit 4; the next run goes on where this one stopped, without a second request."""
    archive = bench.file("a.ndjson", [identify("a", 1, name="A"), track("a", 2)])
    assert bench.replay("--max-calls", "1", archive).code == 4
    assert bench.outcomes() == {"pending": 2}
    assert bench.replay(archive).code == 0
    assert bench.calls(BULK) == 1
    assert bench.outcomes() == {"delivered": 2}


@pytest.mark.parametrize(
    ("fault", "code", "outcomes"),
    [
        ({"action": "fail_action"}, 3, {"failed": 2}),
        ({"action": "fail_action", "last": 1}, 0, {"delivered": 2}),
        ({"action": "status", "code": 401}, 5, {"pending": 2}),
        ({"action": "status", "code": 404}, 2, {"pending": 2}),
    ],
    ids=["fails", "fails-once", "401", "404"],
)
def test_trouble_with_bulk_requests_ends_in_counted_outcomes(
    run_cli: Cli, fault: dict[str, Any], code: int, outcomes: dict[str, int]
) -> None:
    """Nothing is lost, whatever happens to the request."""
    faults = [Fault(path=BULK, **fault)]
    with Sandbox(SandboxOptions(keep=None), faults) as sandbox:
        bench = Bench(run_cli, sandbox)
        assert bench.replay("-", stdin=identify("a", 1) + track("a", 2)).code == code
        assert bench.outcomes() == outcomes


def test_events_before_a_damage_on_the_same_line_are_sent_in_bulk_too(bench: Bench) -> None:
    """The second reading knows the line that the first one took values from."""
    text = f"{track('a', 1, 'm1').strip()} {track('b', 2, 'm2')}".encode()
    (bench.cli.folder / "cut.gz").write_bytes(gzip.compress(text)[:-12])
    for option in ("--each", "--bulk"):
        ended = bench.cli("replay", "--sandbox", option, "cut.gz")
        assert "1 delivered" in ended.err.splitlines()[0], ended.err


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([identify("u", 1, firstName="Ada"), identify("u", 2, lastName="Lovelace")], "Ada Lovelace"),
        ([identify("u", 2, lastName="Lovelace"), identify("u", 1, firstName="Ada")], "Ada Lovelace"),
        ([identify("u", 1, firstName="Ada"), track("u", 2, lastName="Lovelace")], "Ada Lovelace"),
        ([identify("u", 1, name="Ada Lovelace"), identify("u", 2, firstName="Augusta")], "Ada Lovelace"),
        ([identify("u", 1, firstName="A", lastName="B"), identify("u", 2, lastName="C")], "A B"),
        ([identify("u", 1, firstName="Ada"), identify("u", 2, name="Lady Lovelace")], "Lady Lovelace"),
        ([identify("u", 1, email="a@example.com"), identify("u", 2, lastName="Lovelace")], "Lovelace"),
    ],
    ids=["halves", "later first", "of an event", "after a whole", "half of both", "before a whole", "alone"],
)
def test_a_retry_joins_the_halves_of_a_name_as_the_refused_request_had_them(
    run_cli: Cli, lines: list[str], name: str
) -> None:
    """One by one the last half would replace the first. What is left with half a name is told."""
    with Sandbox(SandboxOptions(keep=None), [Fault.parse(f"POST {BULK} status 400 #1")]) as sandbox:
        bench = Bench(run_cli, sandbox)
        settings = bench.settings.read_text()
        bench.settings.write_text(f"{settings}track: {{extend_default: true}}\n")
        assert bench.replay(bench.file("a.ndjson", lines)).code == 3
        before = sandbox.counts()[0]
        dry = run_cli("retry", "-c", bench.settings, "--dry-run")
        ended = run_cli("retry", "-c", bench.settings, "--yes")
        assert (before, ended.code) == (0, 0), ended.err
        assert profiles(sandbox)["u"]["name"] == name
        assert name in [line["body"].get("customer", line["body"]).get("name") for line in dry.lines]
        assert ("holds only a first or a last name" in ended.err) == (name == "Lovelace")


def test_of_events_with_one_message_id_the_first_one_is_folded(run_cli: Cli) -> None:
    """The others are not sent, so nothing of them reaches a customer."""
    lines = [
        track("u1", 1, "m", email="a@example.com"),
        track("u1", 2, "m", email="b@example.com"),
        track("u2", 2, "m", email="c@example.com"),
    ]
    ended = run_cli("replay", "-n", "--bulk", "-", stdin="".join(lines))
    bodies = [line["body"] for line in ended.lines if "customers" in line["path"]]
    assert bodies == [{"source_id": "u1", "email": "a@example.com"}]


def test_a_retried_event_does_not_put_an_old_value_over_a_newer_one(run_cli: Cli) -> None:
    """The run in bulk sent the newer one; what the event says of a customer that was refused arrives with it."""
    with Sandbox(faults=[Fault.parse("POST /v1/events status 400 #1")]) as server:
        bench = Bench(run_cli, server)
        lines = [track("u1", 1, email="old@example.com"), identify("u1", 2, email="new@example.com")]
        bench.replay(bench.file("a.ndjson", lines))
        assert [letter["outcome"] for letter in bench.letters()] == ["failed"]
        ended = run_cli("retry", "-c", bench.settings, "--yes")
        assert ended.code == 0, ended.err
        assert profiles(server)["u1"]["email"] == "new@example.com"
        assert server.counts()[1] == 1


def test_a_retried_event_does_not_put_half_a_name_over_the_whole_one_that_was_sent_in_bulk(
    run_cli: Cli,
) -> None:
    """The update of its customer said all that the event says, and so the event only names its customer again."""
    with Sandbox(faults=[Fault.parse("POST /v1/events status 400 #1")]) as server:
        bench = Bench(run_cli, server)
        bench.settings.write_text(f"{bench.settings.read_text()}track: {{extend_default: true}}\n")
        lines = [identify("u1", 1, name="Ada Lovelace"), track("u1", 2, firstName="Augusta", phone="1")]
        assert bench.replay(bench.file("a.ndjson", lines)).code == 3
        ended = run_cli("retry", "-c", bench.settings, "--yes")
        assert ended.code == 0, ended.err
        assert (profiles(server)["u1"]["name"], profiles(server)["u1"]["phone"]) == ("Ada Lovelace", "1")
        assert server.counts()[1] == 1
