"""Every road of a dry run beside the one without options: what an event costs with the settings that people use.

    python benchmarks/roads.py [--events 200000] [--rounds 3] [--before COMMAND] [--only TEXT]… [--save]

In each round all roads run in turn over archives of the same seeded events, each in a process of its own, and the
median counts; so does msgspec's generic decoder and encoder, the floor of what parses everything. `--before` also
runs another installed version over events without metadata, and tells how many times its CPU this one takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from events import generate
from measure import COMMAND, machine, run, save

HERE = Path(__file__).resolve().parent
KEY = "benchmark-key"
API = f"api: {{key: {KEY}, token: none}}\n"


class Road(NamedTuple):
    """One way of a dry run.

    Attributes:
        name: as in the table.
        options: of the command.
        settings: YAML.
        archive: which of the archives.
        command: what is done.
    """

    name: str
    options: tuple[str, ...] = ()
    settings: str = ""
    archive: str = "events"
    command: tuple[str, ...] = ("replay", "--dry-run")


SETTINGS = {
    "rows of one's own": """
track:
  extend_default: true
  mapping:
    timestamp: metadata.occurred_at
    messageId: metadata.segment_message_id
    properties.total: metadata.total
""",
    "a wildcard": """
identify: {extend_default: true, mapping: {traits.*: customer.metadata.*}}
track: {extend_default: true, mapping: {properties.*: metadata.*}}
""",
    "an object row": "track: {extend_default: true, mapping: {properties: metadata}}",
    "unmapped_*: metadata": """
identify: {unmapped_traits: metadata}
track: {unmapped_properties: metadata}
""",
    "nulls: clear": "identify: {nulls: clear}",
    "constants": """
identify: {add: {customer.metadata.from: segment}}
track: {add: {metadata.replayed: true}}
""",
    "an events_filter": "track: {events_filter: [Product *, Cart *, Checkout *, Newsletter *, Order *]}",
    "Actions presets as rows": """
identify:
  name_from_parts: false
  mapping:
    userId: customer.source_id
    traits.name: customer.name
    traits.firstName: customer.firstName
    traits.lastName: customer.lastName
    traits.description: customer.description
    traits.email: customer.email
    traits.phone: customer.phone
    traits.birthdate: customer.birthdate
    traits.address.city: customer.address.city
    traits.address.state: customer.address.state
    traits.address.postal_code: customer.address.postal_code
    traits.address.street: customer.address.line_1
    traits.address.country: customer.address.country
    traits.metadata: customer.metadata
track:
  name_from_parts: false
  mapping:
    userId: customer.source_id
    context.traits.email: customer.email
    properties.email: customer.email
    properties.referral.code: referral.code
    properties.referral.referrer_id: referral.referrer_id
    properties.loyalty.code: loyalty.code
    properties.metadata: metadata
    event: event
""",
    "Actions presets as directives": """
identify:
  name_from_parts: false
  set:
    customer:
      source_id: {"@path": $.userId}
      name: {"@path": $.traits.name}
      firstName: {"@path": $.traits.firstName}
      lastName: {"@path": $.traits.lastName}
      description: {"@path": $.traits.description}
      email: {"@path": $.traits.email}
      phone: {"@path": $.traits.phone}
      birthdate: {"@path": $.traits.birthdate}
      address:
        city: {"@path": $.traits.address.city}
        state: {"@path": $.traits.address.state}
        postal_code: {"@path": $.traits.address.postal_code}
        line_1: {"@path": $.traits.address.street}
        country: {"@path": $.traits.address.country}
      metadata: {"@path": $.traits.metadata}
track:
  name_from_parts: false
  set:
    customer:
      source_id: {"@path": $.userId}
      email:
        "@if":
          exists: {"@path": $.properties.email}
          then: {"@path": $.properties.email}
          else: {"@path": $.context.traits.email}
    referral:
      code: {"@path": $.properties.referral.code}
      referrer_id: {"@path": $.properties.referral.referrer_id}
    loyalty.code: {"@path": $.properties.loyalty.code}
    metadata: {"@path": $.properties.metadata}
    event: {"@if": {exists: {"@path": $.event}, then: {"@path": $.event}, else: {"@path": $.name}}}
""",
    "or and apply": """
identify:
  extend_default: true
  mapping:
    traits.email: {to: customer.email, or: [context.traits.email], apply: strip | downcase}
    traits.createdAt: {to: customer.metadata.joined, apply: "date: '%Y-%m-%d'"}
track:
  extend_default: true
  mapping:
    properties.email: {to: customer.email, or: [context.traits.email], apply: strip | downcase}
    properties.total: {to: metadata.cents, apply: "times: 100 | round"}
""",
    "where of three terms": """
identify: {where: 'traits.loyalty_tier != "none" and traits.orders > 0 and contains(traits.email, "@")'}
track: {where: 'event != "Cart" and properties.quantity != null and !match(event, "Page*")'}
""",
    "entries by event name": """
track:
  add: {metadata.replayed: true}
  events:
    Order Completed: {mapping: {properties.order_id: metadata.order_id}, add: {metadata.kind: order}}
    "Product *": {extend_default: true, mapping: {properties.product_id: metadata.product}}
    Cart Viewed: {rename: Cart}
""",
}
"""Road -> settings."""

PAGES = """
page: {disabled: false, set: {event: {"@template": "Viewed {{name}} Page"}}, extend_default: true}
screen: {disabled: false, mapping: {name: metadata.name, properties.path: metadata.path}, extend_default: true}
"""


def roads(events: int) -> Iterator[Road]:
    """Yield all roads; the first one has no option and no setting."""
    yield Road("default table, metadata in the events")
    yield Road("no metadata", archive="plain")
    for name, settings in SETTINGS.items():
        yield Road(name, settings=settings)
    yield Road("--limit", options=("--limit", str(events)))
    yield Road("--max-errors", options=("--max-errors", "10"))
    yield Road("--since", options=("--since", "2020-01-01"))
    yield Road("a ledger that knows something", options=("--ledger", "known.ledger"), settings=API)
    yield Road("--bulk", options=("--bulk",))
    yield Road("stdin", options=("-",))
    yield Road("odd shapes", archive="odd")
    yield Road("no messageId", archive="nameless")
    yield Road("envelopes", archive="envelopes")
    yield Road("page and screen on", settings=PAGES, archive="web")
    yield Road("plan", command=("plan",))


def odd(line: bytes, number: int) -> bytes:
    """Return an event with a number for a text, an unknown key, a text for an object, or a dotted key."""
    change: list[Callable[[dict[str, Any]], object]] = [
        lambda given: given.update(phone=5),
        lambda given: given.update({f"key{number % 50}": number}),
        lambda given: given.update(address="Main Street 1"),
        lambda given: given.update({"address.city": "London"}),
        lambda given: given.update(email=None, name=True),
        lambda given: given.clear(),
    ]
    event = json.loads(line)
    change[number % len(change)](event.get("traits") or event.get("properties"))
    return json.dumps(event).encode() + b"\n"


def web(line: bytes, number: int) -> bytes:
    """Return a track event as that of a page or a screen."""
    event = json.loads(line)
    if event["type"] == "track":
        event["type"] = "page" if number % 3 else "screen"
        event["name"] = event.pop("event")
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def nameless(line: bytes) -> bytes:
    """Return an event without messageId."""
    event = json.loads(line)
    del event["messageId"]
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def write_archives(folder: Path, events: int) -> None:
    """Write all archives."""
    lines = list(generate(events, size=1_400, metadata=True))
    batches = (b",".join(line[:-1] for line in lines[at : at + 20]) for at in range(0, events, 20))
    archives = {
        "events": lines,
        "plain": generate(events),
        "odd": (odd(line, number) for number, line in enumerate(lines)),
        "nameless": map(nameless, lines),
        "web": (web(line, number) for number, line in enumerate(lines)),
        "envelopes": (b'{"batch":[%b]}\n' % batch for batch in batches),
    }
    for name, archive in archives.items():
        with (folder / f"{name}.ndjson").open("wb") as file:
            file.writelines(archive)


def make_ledger(folder: Path) -> None:
    """Let a sandbox be sent a hundred events, and keep its ledger."""
    few = folder / "few.ndjson"
    few.write_bytes(b"".join(generate(100, size=1_400, metadata=True)))
    script = f"""
from pathlib import Path
from voucherify_sync.state.ledger import Ledger, RunStart
from voucherify_sync.state.ledger_file import ProjectIdentity
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.events import Batch
from voucherify_sync.outcomes import Outcome, State
from voucherify_sync.run.pipeline import Pipeline
from voucherify_sync.settings import Settings
from voucherify_sync.stop import Stop
identity = ProjectIdentity.of("https://api.voucherify.io", {KEY!r})
start = RunStart("20250301-120000-aaaa", "replay", "digest", identity)
ledger = Ledger.open(Path("known.ledger"), start, stop=Stop(), is_new=True)
for batch in Pipeline(Settings(), Selection()).batches(Batch("few", 1, Path("few.ndjson").read_bytes())):
    for request in batch:
        ledger.record(Outcome(request.event, State.DELIVERED, request=request))
ledger.end_run(0, {{}})
ledger.close()
"""
    made = run([sys.executable, "-c", f"import os; os.chdir({str(folder)!r})\n{script}"])
    assert made.exit_code == 0, made.stderr


def cost_of(road: Road, folder: Path, events: int, command: list[str]) -> float:
    """Return the CPU microseconds an event of one run."""
    config = folder / "settings.yaml"
    config.write_text(road.settings or "{}\n")
    archive = folder / f"{road.archive}.ndjson"
    reads_stdin = "-" in road.options
    words = [*command, *road.command, "-q", "--jobs", "1", "-c", str(config), *road.options]
    if not reads_stdin:
        words.append(str(archive))
    cost = run(words, stdin=archive if reads_stdin else None, stdout=folder / "out")
    assert cost.exit_code == 0, cost.stderr
    return 1e6 * cost.cpu_s / events


def main() -> None:
    """Generate, run all in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--before", type=Path, metavar="COMMAND", help="an installed voucherify-sync")
    parser.add_argument("--only", action="append", metavar="TEXT", help="run only roads whose names hold it")
    parser.add_argument("--save", action="store_true", help="keep the results, which the docs quote")
    options = parser.parse_args()
    costs: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_archives(folder, options.events)
        make_ledger(folder)
        os.chdir(folder)
        for _ in range(options.rounds):
            floor = run(
                [sys.executable, str(HERE / "round_trip.py")],
                stdin=folder / "events.ndjson",
                stdout=folder / "out",
            )
            costs.setdefault("msgspec, generic", []).append(1e6 * floor.cpu_s / options.events)
            for number, road in enumerate(roads(options.events)):
                if number > 1 and options.only and not any(text in road.name for text in options.only):
                    continue
                costs.setdefault(road.name, []).append(cost_of(road, folder, options.events, COMMAND))
            if options.before:
                before = cost_of(Road("", archive="plain"), folder, options.events, [str(options.before)])
                costs.setdefault("before", []).append(before)
    show(costs, options)


def show(costs: dict[str, list[float]], options: argparse.Namespace) -> None:
    """Print the table, and keep it."""
    us = {name: median(rounds) for name, rounds in costs.items()}
    floor, before = us.pop("msgspec, generic"), us.pop("before", None)
    first = next(iter(us.values()))
    print(f"{options.events:,} events of 1.4 KB on {machine()}; msgspec alone: {floor:.1f} µs\n")
    print("| road | CPU µs an event | times the first | times msgspec alone |\n|---|--:|--:|--:|")
    for name, cost in us.items():
        print(f"| {name} | {cost:.1f} | {cost / first:.2f} | {cost / floor:.2f} |")
    if before is not None:
        print(f"\nwithout metadata {us['no metadata'] / before:.2f} times the CPU of before")
    if options.save:
        save("roads", {"events": options.events, "floor_us": floor, "roads": us})


if __name__ == "__main__":
    main()
