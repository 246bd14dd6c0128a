"""The settings file: what it may say, and how every mistake in it is named."""

# ruff: noqa: E501 - a table of mistakes is read line by line

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.settings_text import loaded

from voucherify_sync.errors import SettingsError
from voucherify_sync.exit_codes import ExitCode
from voucherify_sync.settings import (
    Rate,
    Secret,
    Settings,
    default_table_notices,
    load,
    load_with_doubts,
    load_with_tests,
)
from voucherify_sync.settings import yaml_nodes as document_module


def problems(folder: Path, text: str | bytes, **environment: str) -> list[str]:
    """Return the mistakes in this text, without the name of the file's folder."""
    with pytest.raises(SettingsError) as caught:
        loaded(folder, text, **environment)
    assert caught.value.exit_code is ExitCode.USAGE
    return [line.replace(f"{folder}/", "") for line in caught.value.problems]


@pytest.fixture(params=["libyaml", "pure Python"])
def any_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers of PyYAML: the fast one is not built everywhere."""
    if request.param == "pure Python":
        monkeypatch.setattr(document_module, "Loader", yaml.BaseLoader)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "---\n",
        "{}",
        "identify:\n",
        "identify: {}\ntrack: null\napi: ~",
        "identify:\n  mapping:\n  add:\n",
    ],
    ids=["no text", "a comment", "a marker", "braces", "a bare section", "null sections", "null settings"],
)
def test_what_is_empty_or_null_keeps_its_default(tmp_path: Path, text: str) -> None:
    """Null stands for the default, at every level."""
    assert loaded(tmp_path, text) == Settings()


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file named, none in the working directory."""
    monkeypatch.chdir(tmp_path)
    assert load(None, environment={}) == Settings()


def test_the_file_in_the_working_directory_is_read_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """./voucherify-sync.yaml needs no option."""
    monkeypatch.chdir(tmp_path)
    Path("voucherify-sync.yaml").write_text("delivery: {workers: 3}")
    assert load(None, environment={}).delivery.workers == 3


FULL = """\
api: {key: a, token: b, url: "https://us1.api.voucherify.io/v1/", version: v2018-08-01}
identify:
  mapping:
    traits.email: customer.email
    traits: [customer, customer.metadata]
    traits.*: customer.metadata.*
  add: {customer.metadata.source: segment}
  nulls: clear
track:
  events_filter: Order Completed
  events_exclude: [404, NO]
delivery: {rate: 100/h, reserve: 0.25, max_calls: 7, workers: "4", customers: bulk}
"""


@pytest.mark.usefixtures("any_parser")
def test_every_kind_of_setting_is_read(tmp_path: Path) -> None:
    """A single text counts as a list of one; rows keep their order."""
    read = loaded(tmp_path, FULL)
    assert (read.api.key, read.api.url) == (Secret("a"), "https://us1.api.voucherify.io")
    assert list(read.identify.mapping.items()) == [
        ("traits.email", ["customer.email"]),
        ("traits", ["customer", "customer.metadata"]),
        ("traits.*", ["customer.metadata.*"]),
    ]
    assert read.track.events_filter == ["Order Completed"]
    assert read.track.events_exclude == ["404", "NO"]
    assert (read.delivery.rate, read.delivery.reserve) == (Rate(100, 3600), 0.25)
    assert (read.delivery.max_calls, read.delivery.workers, read.delivery.customers) == (7, 4, "bulk")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"), ("on", "on"), ("12:30:45", "12:30:45"), ("0123", "0123"), ("1.10", 1.1), ('"1.10"', "1.10"),
        ("2025-01-01", "2025-01-01"), ("true", True), ("True", "True"), ("'true'", "true"), ("null", None), ("", None),
        ("'null'", "null"), ("NaN", "NaN"), (".5", ".5"), ("1e3", 1000.0), ("12345678901234567890123", 12345678901234567890123),
        ("[1, '1', {a: no, b: 2}]", [1, "1", {"a": "no", "b": 2}]), ("{}", {}), ("-0", 0), ("0x1F", "0x1F"), ("1_000", "1_000"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("any_parser")
def test_a_constant_is_read_as_in_json_and_never_as_in_norway(
    tmp_path: Path, written: str, value: object
) -> None:
    """Unquoted null, true, false and numbers are JSON's; everything else, and all that is quoted, is text."""
    read = loaded(
        tmp_path, f"identify:\n  nulls: clear\n  add:\n    customer.metadata.x: {written}\n"
    ).identify.add["customer.metadata.x"]
    assert (read, type(read)) == (value, type(value))


NO_TEXT = "a text or a number belongs here; true, false, lists and objects are never sent"
MISTAKES = {
    "unknown": ("tracks: {}", "1:1: tracks: no such setting; did you mean track?"),
    "unknown inside": ("track:\n  event_filter: a", "2:3: track.event_filter: no such setting; did you mean track.events_filter?"),
    "wrong section": ("identify:\n  events_filter: a", "2:3: identify.events_filter: no such setting here; events_filter belongs to track"),
    "two of that name": ("mapping: {}", "1:1: mapping: no such setting; did you mean identify.mapping, track.mapping, page.mapping, screen.mapping, group.mapping or orders.mapping?"),
    "like nothing": ("zzzzz: 1", "1:1: zzzzz: no such setting"),
    "apiKey": ("apiKey: x", "1:1: apiKey: no such setting; did you mean api.key?"),
    "apiToken": ("apiToken: x", "1:1: apiToken: no such setting; did you mean api.token?"),
    "identifyMapping": ("identifyMapping: {}", "1:1: identifyMapping: no such setting; did you mean identify.mapping?"),
    "trackEventsFilter": ("trackEventsFilter: []", "1:1: trackEventsFilter: no such setting; did you mean track.events_filter?"),
    "ignoreAnonymous": ("ignoreAnonymous: true", "1:1: ignoreAnonymous: no such setting; did you mean identity.ignore_anonymous?"),
    "dotted": ("track.disabled: true", "1:1: track.disabled: write `disabled:` below `track:`, on a line of its own"),
    "twice": ("track:\n  disabled: true\n  disabled: false", "3:3: track.disabled: given twice, in line 2 and in line 3; leave one out"),
    "section twice": ("track: {}\n\ntrack: {}", "3:1: track: given twice, in line 1 and in line 3; leave one out"),
    "row twice": ("track:\n  mapping:\n    event: event\n    event: event", "4:5: track.mapping.event: given twice, in line 3 and in line 4; leave one out"),
    "anchor": ("track: &t {}", "1:8: track: an anchor (&); quote the value, or leave the anchor out"),
    "alias": ("track:\n  events_filter: [*Order]", "2:19: track.events_filter: an alias (*); quote the value, or write out what it stands for"),
    "tag": ("api:\n  version: !latest latest", "2:12: api.version: a tag (!); quote the value"),
    "standard tag": ("delivery:\n  workers: !!int 3", "2:12: delivery.workers: a tag (!); quote the value"),
    "merge": ("track:\n  <<: {disabled: true}", "2:3: track.<<: a merge key (<<); write out what it stands for"),
    "list as key": ("? [a]\n: b", "1:3: a key must be a text; quote it"),
    "root is a list": ("- a", "1:1: must hold sections such as `identify:`, not a list"),
    "section is a text": ("track: on", "1:8: track: must hold `name: value` lines"),
    "yes": ("track:\n  disabled: yes", "2:13: track.disabled: must be true or false; did you mean true?"),
    "Off": ("track:\n  disabled: Off", "2:13: track.disabled: must be true or false; did you mean false?"),
    "maybe": ("track:\n  disabled: maybe", "2:13: track.disabled: must be true or false"),
    "list for one": ("track:\n  disabled: [true]", "2:13: track.disabled: must be one value, not a list"),
    "object for one": ("api:\n  url: {a: b}", "2:8: api.url: must be one value, not `name: value` lines"),
    "workers 0": ("delivery:\n  workers: 0", "2:12: delivery.workers: must be a whole number from 1 to 256"),
    "workers many": ("delivery:\n  workers: 257", "2:12: delivery.workers: must be a whole number from 1 to 256"),
    "calls 1,000": ("delivery:\n  max_calls: 1,000", "2:14: delivery.max_calls: must be a whole number of at least 1; did you mean 1000?"),
    "calls many digits": ("delivery:\n  max_calls: 9999999999999999", "2:14: delivery.max_calls: must be a whole number of at least 1"),
    "share 10": ("delivery:\n  reserve: 10", "2:12: delivery.reserve: must be a share below 100%, such as 10% or 0.1; did you mean 10%?"),
    "share 100%": ("delivery:\n  reserve: 100%", "2:12: delivery.reserve: must be a share below 100%, such as 10% or 0.1"),
    "share -1": ("delivery:\n  reserve: -1", "2:12: delivery.reserve: must be a share below 100%, such as 10% or 0.1"),
    "rate": ("delivery:\n  rate: 90/m", "2:9: delivery.rate: must be a number of calls per s, min or h, such as 90/min; did you mean 90/min?"),
    "rate 0": ("delivery:\n  rate: 0/min", "2:9: delivery.rate: must be a number of calls per s, min or h, such as 90/min"),
    "choice": ("delivery:\n  on_doubt: verfy", "2:13: delivery.on_doubt: must be one of accept, hold, resend, verify; did you mean verify?"),
    "blank name": ("track:\n  events_filter: [a, ' ']", "2:22: track.events_filter: a name is missing"),
    "null name": ("track:\n  events_filter: [a, ]\n  events_exclude:\n    -\n", "4:6: track.events_exclude: a name is missing"),
    "names as rows": ("track:\n  events_filter: {a: b}", "2:18: track.events_filter: must be one value, not `name: value` lines"),
    "rows as list": ("track:\n  mapping: [a]", "2:12: track.mapping: must hold `source: destination` rows, not a list"),
    "row to nowhere": ("track:\n  mapping:\n    name: []", "3:11: track.mapping: a destination is missing"),
    "row to null": ("track:\n  mapping:\n    name: [event, null]", "3:19: track.mapping: a destination is missing"),
    "list of filters": ("track:\n  mapping:\n    event: {to: event, apply: [strip, downcase]}", "3:31: track.mapping: apply is one text, not a list; write its filters with | between: strip | downcase"),
    "row to a list of lists": ("track:\n  mapping:\n    name: [[event]]", "3:12: track.mapping: must be one value, not a list"),
    "long path": (f"track:\n  mapping:\n    {'a.' * 300}b: event", "3:5: track.mapping: a path of more than 500 characters"),
    "infinite": ("track:\n  add: {metadata.x: 1e999}", "2:21: track.add: a number out of range; quote it to send it as text"),
    "digits": (f"track:\n  add: {{metadata.x: [{'9' * 5000}]}}", "2:22: track.add: a number with too many digits; quote it to send it as text"),
    "both tokens": ("api: {token: a, token_file: b}", "1:29: api: token and token_file are both given; leave one out"),
    "http": ("api: {url: http://example.com}", "1:12: api.url: must begin with https://; http:// would show the keys to the network"),
    "unset": ("api: {url: 'https://${HOST}'}", "1:12: api.url: the variable HOST is not set; run `export HOST=…`"),
    "odd reference": ("api: {key: '${a-b}'}", "1:12: api.key: `${` begins ${NAME} or ${NAME:-default}; for the characters themselves write $${"),
    "row to metadata": ("identify:\n  mapping:\n    traits.plan: metadata.plan", "3:18: identify.mapping: 'metadata.plan': a customer update has no metadata; did you mean customer.metadata.plan?"),
    "rows to metadata": ("identify: {mapping: {traits.*: metadata.*}}", "1:32: identify.mapping: 'metadata.*': a customer update has no metadata; did you mean customer.metadata.*?"),
    "row to event": ("identify: {mapping: {traits.plan: event}}", "1:35: identify.mapping: 'event': a customer update has no event; only a custom event has, so it belongs to track"),
    "constant to loyalty": ("identify: {add: {loyalty.code: x}}", "1:18: identify.add: 'loyalty.code': a customer update has no loyalty; only a custom event has, so it belongs to track"),
    "constant to metadata": ("identify: {add: {metadata.a: 1}}", "1:18: identify.add: 'metadata.a': a customer update has no metadata; did you mean customer.metadata.a?"),
    "null constant": ("track:\n  add:\n    metadata.a:\n", "3:16: track.add: metadata.a has no value, and null adds nothing"),
    "null constant of a customer": ("identify: {add: {customer.name: null}}", "1:33: identify.add: customer.name has no value, and null adds nothing; to erase the field, set nulls: clear"),
    "row the other way": ("track: {mapping: {customer.email: properties.email}}", "1:35: track.mapping: a row is `source: destination`; did you mean `properties.email: customer.email`?"),
    "field without customer": ("track: {mapping: {properties.email: email}}", "1:37: track.mapping: 'email': a request has no 'email'; did you mean 'customer.email'?"),
    "gateway": ("api: {url: 'https://us1.segmentio.voucherify.io'}", "1:12: api.url: that is the gateway of Segment; the API is https://us1.api.voucherify.io"),
    "gateway of mParticle": ("api: {url: 'https://mparticle.voucherify.io/v1/'}", "1:12: api.url: that is the gateway of mParticle; the API is https://api.voucherify.io"),
    "gateway of PostHog": ("api: {url: 'HTTPS://AS1.PostHog.voucherify.io'}", "1:12: api.url: that is the gateway of PostHog; the API is https://as1.api.voucherify.io"),
    "variable without braces": ("api: {key: $KEY}", "1:12: api.key: the name of a variable stands in ${…}, such as ${VOUCHERIFY_API_KEY}"),
    "identify or identity": ("identiy: {}", "1:1: identiy: no such setting; did you mean identity or identify?"),
    "identity for identify": ("identity: {mapping: {}}", "1:12: identity.mapping: no such setting here; mapping belongs to identify"),
    "identify for identity": ("identify: {ignore_anonymous: true}", "1:12: identify.ignore_anonymous: no such setting here; ignore_anonymous belongs to identity"),
    "events": ("events: [a]", "1:1: events: no such setting; did you mean track.events or orders.events?"),
    "several owners": ("delivery: {mapping: {}}", "1:12: delivery.mapping: no such setting here; mapping belongs to identify, track, page, screen, group or orders"),
    "a list of rows": ("track:\n  mapping:\n    - event: event", "3:5: track.mapping: must hold `source: destination` rows, not a list; leave the `- ` out"),
    "no blank after the colon": ("track:\n  disabled:true", "2:3: track: must hold `name: value` lines; write a space after the colon"),
    "dashboard": ("api: {url: 'https://us1.app.voucherify.io/#/app'}", "1:12: api.url: that is the dashboard; the API is https://us1.api.voucherify.io"),
    "url without scheme": ("api: {url: us1.api.voucherify.io}", "1:12: api.url: must begin with https://; did you mean https://us1.api.voucherify.io?"),
    "another name": ("api:\n  secret_key: x", "2:3: api.secret_key: no such setting; did you mean api.token?"),
    "row without mapping": ("identify:\n  traits.email: customer.email", "2:3: identify.traits.email: a row belongs below `mapping:`, in identify"),
    "row of rows": ("identify:\n  mapping:\n    traits:\n      email: customer.email", "4:7: identify.mapping: a row goes to one destination or to a list of them; write a row for each key, such as `traits.email: …`"),
    "case of a destination": ("identify: {mapping: {traits.city: Customer.Adress.City}}", "1:35: identify.mapping: 'Customer.Adress.City': a request has no 'Customer'; did you mean 'customer.Adress.City'?"),
    "false for a section": ("track: false", "1:8: track: must hold `name: value` lines; `disabled: true` switches off what can be"),
    "two documents": ("track: {}\n---\ntrack: {}", "2:1: only one document (`---`) is read"),
    "not UTF-8": (b"track:\n  # caf\xe9", "2:8: not UTF-8 text; save the file with the encoding UTF-8"),
    "control character": ("track:\n  \x00", "2:3: a character that YAML does not allow; write it as an escape"),
    "deep": ("[" * 40, "1:33: nested deeper than 32 levels"),
    "large": (b"#" * (1 << 20) + b"\n", "1:1: larger than 1 MiB, which no settings file is"),
    "filter in a source": ("track: {mapping: {properties.t | round: metadata.t}}", "1:19: track.mapping: a source has no filters; write `properties.t: {to: metadata.t, apply: round}`"),
    "filter with an argument": ("track: {mapping: {\"properties.t | date: '%Y'\": {to: metadata.t}}}", "1:19: track.mapping: a source has no filters; write `properties.t: {to: …, apply: \"date: '%Y'\"}`"),
    "filter in a destination": ("track: {mapping: {properties.t: metadata.t|strip | upcase}}", "1:33: track.mapping: 'metadata.t|strip | upcase': filters stand in a row, `source: {to: metadata.t, apply: strip | upcase}`"),
    "filter in another source": ("track: {mapping: {properties.t: {to: metadata.t, or: properties.u | round}}}", "1:54: track.mapping: 'properties.u | round': filters stand below `apply`, for all sources of a row: apply: round"),
    "blank rename": ("track: {events: {A: {rename: ' '}}}", "1:30: track.events.A.rename: a name is missing; leave rename out to send each event by its own name"),
    "rename with a star": ("track: {events: {A *: {rename: B *}}}", "1:32: track.events.….rename: a * stands for no part of the event's name here; write the name out, or make it with set: event. Where the * is meant, write add: {event: …}"),
    "long rename": (f"track: {{events: {{A: {{rename: {'a' * 301}}}}}}}", "1:30: track.events.A.rename: a name of more than 300 characters, which Voucherify does not take"),
    "null in set": ("track: {set: {event: null}}", "1:22: track.set: event has no value, and null sets nothing"),
    "null in braces": ("identify: {add: {customer: {name: null}}}", "1:35: identify.add: customer.name has no value, and null adds nothing; to erase the field, set nulls: clear"),
    "constant that is no date": ("track: {add: {customer.birthdate: 2020-13-01}}", "1:35: track.add: customer.birthdate: this is no date of the calendar, and never sent; write one such as 1990-05-31"),
    "constant that is no text": ("track: {set: {customer.source_id: true}}", f"1:35: track.set: customer.source_id: {NO_TEXT}"),
    "object for a text": ("identify: {add: {customer.name: {a: 1}}}", f"1:33: identify.add: customer.name: {NO_TEXT}"),
    "object with a directive for a text": ("track: {set: {event: [{'@path': event}]}}", f"1:22: track.set: event: {NO_TEXT}"),
    "directive that gives an object": ("track: {set: {event: {'@flatten': {value: 1, separator: /}}}}", f"1:22: track.set: event: {NO_TEXT}"),
    "directive that gives a text": ("track: {set: {metadata: {'@template': '{{event}}'}}}", "1:25: track.set: metadata: an object belongs here; anything else is never sent"),
    "directive that reads nothing": ("track: {set: {event: {'@case': {operator: lower, value: ' '}}}}", "1:22: track.set: event: a blank text is never sent; leave the entry out"),
    "blank constant": ("track: {add: {referral: {code: ''}}}", "1:32: track.add: referral.code: a blank text is never sent; leave the entry out"),
    "blank id": ("track: {add: {customer.id: ''}}", "1:28: track.add: customer.id: a blank id names nobody and is never sent; leave the entry out"),
    "long name": (f"track: {{add: {{event: {'a' * 301}}}}}", "1:22: track.add: event: a name of more than 300 characters, which Voucherify does not take"),
    "text for an object": ("track: {add: {customer: x}}", "1:25: track.add: customer takes an object"),
    "constant of an entry": ("track: {events: {Order: {add: {metadata: 1}}}}", "1:42: track.events.Order.add: metadata takes an object"),
    "unknown field in braces": ("track: {add: {customer: {emial: x}}}", "1:33: track.add: 'customer.emial': customer has no 'emial'; did you mean 'customer.email'?"),
    "wildcard of constants": ("track: {add: {metadata.*: x}}", "1:27: track.add: 'metadata.*': a value fills one place here; leave the '.*' out"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line"), MISTAKES.values(), ids=MISTAKES.keys())
@pytest.mark.usefixtures("any_parser")
def test_a_mistake_is_named_with_its_place_and_what_to_write(
    tmp_path: Path, text: str | bytes, line: str
) -> None:
    """`file:line:column: setting.path: message`, and a suggestion where one is likely."""
    assert problems(tmp_path, text) == [f"s.yaml:{line}"]


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("track:\n\tdisabled: true", "2:1:", "indent with spaces"),
        ("api:\n  url: @x", "2:8:", "a value that begins with @, ` or %; quote it"),
        ('track:\n  where: !contains(event, "x")', "2:25:", "a value that begins with !; quote it"),
        ("track: {add: {metadata.a: b: c}}", "1:28:", "a second `: ` inside one"),
        ("track:\n  events_filter: [* , b]", "2:20:", "a value that begins with * or &; quote it"),
        ("api:\n  url: a: b", "2:9:", "quote a value that holds `: `"),
        ("api:\n  url: 'x", "2:10:", "open quotes or brackets; close them"),
        ("track:\n  add:\n    metadata.x: 'it's'", "3:21:", "inside single quotes, write '' for one quote"),
        (r'api: {key: "C:\Users"}', "1:17:", "a backslash in double quotes; write it twice"),
        ("track: {disabled: true}\n...\nx", "3:1:", "something behind the end of the settings"),
        ("identify:\n mapping:\n  traits.a: customer.x\n   traits.b: customer.y", "4:12:", "a second `: `"),
        ("api: {url: ${X}}\n", "1:13:", "quote a value that holds ${…}"),
    ],
    ids=[
        "tab",
        "at sign",
        "exclamation mark",
        "colon in braces",
        "star",
        "colon",
        "quote",
        "quote inside",
        "backslash",
        "behind the end",
        "indented",
        "brace",
    ],
)
def test_a_syntax_error_is_one_mistake_with_a_hint(tmp_path: Path, text: str, place: str, hint: str) -> None:
    """The parser's own words are for its authors; the hint says what it usually is."""
    (line,) = problems(tmp_path, text)
    assert line.startswith(f"s.yaml:{place} not valid YAML: ")
    assert hint in line


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Whoever mends a file wants one list."""
    text = "delivery: {workers: 0, rate: x}\napi: &a {url: ftp://x}\nnope: 1\ntrack: {disabled: 1, disabled: 2}\n"
    places = [":".join(line.split(":")[1:3]) for line in problems(tmp_path, text)]
    assert places == ["1:21", "1:30", "2:6", "2:15", "3:1", "4:19", "4:22"]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("track: {nope: 1}\ntrack: {disabled: maybe}\n", ["1:9", "2:1", "2:19"]),
        ("nope: 1\ndelivery:\n  workers: x\n  reserve: x\n\trate: x\n", ["1:1", "3:12", "5:1"]),
        ("nope: 1\ntrack: {disabled: maybe}\n---\na: b\n", ["1:1", "2:19", "3:1"]),
        ("nope: 1\napi: {url: 'x\n", ["1:1", "3:1"]),
        ("nope: 1 # \x01\ntrack: {disabled: maybe}\n", ["1:11", "2:19"]),
        (b"# caf\xe9\ntrack: {disabled: maybe}\n", ["1:6", "2:19"]),
        (b"\xff\xfet\0r\0a\0c\0k\0", ["1:1"]),
    ],
    ids=["section twice", "tab", "two documents", "open quote", "control character", "Latin-1", "UTF-16"],
)
def test_a_mistake_of_yaml_hides_no_other_mistake(
    tmp_path: Path, text: str | bytes, places: list[str]
) -> None:
    """What stands before a mistake of syntax is read, and so is the second of two sections of one name."""
    assert [":".join(line.split(":")[1:3]) for line in problems(tmp_path, text)] == places


def test_half_a_mapping_test_is_no_mistake_of_its_own(tmp_path: Path) -> None:
    """What is missing there may stand behind the mistake of syntax."""
    file = tmp_path / "s.yaml"
    file.write_text("tests:\n  - name: a\n    event: {type: track}\n\texpect_skipped: no_id\n")
    with pytest.raises(SettingsError) as caught:
        load_with_tests(file, environment={})
    (line,) = caught.value.problems
    assert line.endswith("s.yaml:4:1: not valid YAML: a tab; indent with spaces")


@pytest.mark.parametrize(
    ("text", "url", "version", "warned"),
    [
        ("api: {url: '', version: ''}", "https://api.voucherify.io", "latest", False),
        ("api: {url: null, version: ~}", "https://api.voucherify.io", "latest", False),
        ("api: {url: '${NONE:-}', version: ' '}", "https://api.voucherify.io", "latest", False),
        ("api: {version: LATEST}", "https://api.voucherify.io", "latest", False),
        ("api: {version: v2017-04-20}", "https://api.voucherify.io", "v2017-04-20", False),
        ("api: {version: 2018-08-01}", "https://api.voucherify.io", "2018-08-01", True),
        ("api: {url: 'https://shop.api.voucherify.io'}", "https://shop.api.voucherify.io", "latest", False),
    ],
)
def test_an_empty_url_or_version_is_the_default(
    tmp_path: Path, text: str, url: str, version: str, warned: bool
) -> None:
    """Segment has empty texts there; and a version that Voucherify cannot know is a warning."""
    api = loaded(tmp_path, text).api
    assert (api.url, api.version) == (url, version)
    _, _, warnings = load_with_tests(tmp_path / "s.yaml", environment={})
    assert ["Voucherify knows v2018-08-01" in warning for warning in warnings] == [True] * warned


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("track: {events_filter: 'A, B'}", "this is one name; several are a list"),
        ("track:\n  events_exclude: A, B", "this is one name; several are a list"),
        (
            "track:\n  extend_default: true\n  mapping:\n    properties.a: metadata.a, metadata.b",
            "several are a list",
        ),
        (
            "track:\n  extend_default: true\n  mapping:\n    properties.a + properties.b: metadata.a",
            "an entry of `set` joins values",
        ),
        (
            "track: {extend_default: true, mapping: {properties.a | rond: metadata.a}}",
            "filters stand below `apply`",
        ),
        ("track: {extend_default: true, mapping: {'properties[\"a | b\"]': metadata.a}}", None),
        ("track: {events_filter: ['A, B']}", None),
        ('track:\n  extend_default: true\n  mapping:\n    properties["a, b"]: metadata.a', None),
    ],
)
def test_a_list_that_is_one_text_is_a_warning(tmp_path: Path, text: str, says: str | None) -> None:
    """It can be meant: names and keys may hold commas."""
    file = tmp_path / "s.yaml"
    file.write_text(text)
    _, _, warnings = load_with_tests(file, environment={})
    assert len(warnings) == (says is not None)
    assert says is None or says in warnings[0]


def test_an_empty_path_is_the_default(tmp_path: Path) -> None:
    """The token beside an empty token_file counts."""
    settings = loaded(tmp_path, "api: {token: a, token_file: ''}\ndelivery: {ledger: ''}")
    assert (settings.api.token_file, settings.delivery.ledger) == (None, None)


def test_a_null_constant_erases_with_nulls_clear(tmp_path: Path) -> None:
    """Wherever the two stand in the section."""
    text = "identify: {add: {customer.phone: null}, nulls: clear}"
    assert loaded(tmp_path, text).identify.add == {"customer.phone": None}


def rows_of(*targets: str) -> str:
    """Return an identify section with rows to these destinations."""
    return "identify:\n  mapping:\n" + "".join(f"    traits.{n}: {to}\n" for n, to in enumerate(targets))


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (rows_of("customer.email"), "name, description, phone, address, metadata"),
        (rows_of("customer.address.city", "customer.metadata.x"),
         "name, email, description, phone, address.state, address.line_1, address.country, address.postal_code"),
        (rows_of("customer.firstName", "customer.address"), "email, description, phone, metadata"),
        (rows_of("customer.name") + "  add: {customer.phone: x}\n", "email, description, address, metadata"),
        (rows_of("customer"), None),
        (rows_of("customer.email") + "  extend_default: true\n", None),
        (rows_of("customer.email") + "  extend_default: false\n", None),
        ("identify: {add: {customer.phone: x}}", None),
        ("", None),
    ],
)  # fmt: skip
def test_rows_that_switch_the_default_table_off_are_told_with_the_fields(
    tmp_path: Path, text: str, fields: str | None
) -> None:
    """The remedy beside it; whoever says `extend_default: false` knows."""
    notices = default_table_notices(loaded(tmp_path, text))
    notice = (
        "identify.mapping replaces the default table, which would fill these fields of the customer, too: "
        f"{fields}. Set identify.extend_default: true to keep it, or false if this is meant."
    )
    assert notices == ([] if fields is None else [notice])


def test_beyond_fifty_mistakes_only_their_number_is_told(tmp_path: Path) -> None:
    """A file of another kind altogether does not flood the terminal."""
    lines = problems(tmp_path, "".join(f"k{number}: 1\n" for number in range(80)))
    assert len(lines) == 51
    assert lines[-1] == "s.yaml: and 30 mistakes more"


def test_the_mapping_says_what_is_wrong_with_each_side_of_a_row(tmp_path: Path) -> None:
    """Paths are checked when the settings are read, not at the first event."""
    text = "identify:\n  mapping:\n    traits.email: customer.emial\n    a..b: customer.name\n    traits.*: customer.name\n"
    lines = problems(tmp_path, text)
    assert [line.partition(": ")[0] for line in lines] == ["s.yaml:3:19", "s.yaml:4:5", "s.yaml:5:15"]
    assert "customer.email" in lines[0]


def test_a_file_that_is_not_there_names_the_way_to_one(tmp_path: Path) -> None:
    """A file that was named must exist."""
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read: No such file") as caught:
        load(tmp_path / "nowhere.yaml", environment={})
    assert "voucherify-sync init" in caught.value.remedy


def test_a_byte_order_mark_and_windows_line_ends_are_tolerated(tmp_path: Path) -> None:
    """Editors of other systems add them."""
    assert loaded(tmp_path, b"\xef\xbb\xbftrack:\r\n  disabled: true\r\n").track.disabled is True


def test_a_value_from_a_variable_is_text_whatever_it_holds(tmp_path: Path) -> None:
    """Variables are read after parsing: a line break or `: ` in one cannot make settings."""
    text = 'track:\n  events_filter: ["${NAME}", "${NONE:-all}", $$5, "$${NAME}"]\n  add: {metadata.x: "${NAME}"}'
    read = loaded(tmp_path, text, NAME="true\nevil: *a ${NAME}")
    assert read.track.events_filter == ["true\nevil: *a ${NAME}", "all", "$5", "${NAME}"]
    assert read.track.add == {"metadata.x": "true\nevil: *a ${NAME}"}


SIGNS = list("{}[]:,-?&*!|>'\"%@`#~\\ \n\t")
WORDS = [
    "api",
    "key",
    "track",
    "mapping",
    "add",
    "events_filter",
    "metadata.x",
    "null",
    "true",
    "1e9",
    "10%",
    "é",
]
TURNS = [": ", "- ", "\n  ", "<<", "${", "${A}", "---", "!!int", "\x85", "\ufeff"]
yaml_like = st.lists(st.sampled_from([*SIGNS, *WORDS, *TURNS]), max_size=40).map("".join)


@given(text=yaml_like | st.text(max_size=60))
@settings(max_examples=400)
def test_no_text_ever_raises_anything_but_settings_errors(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, the answer is settings or a list of mistakes, each on a line of its own."""
    try:
        loaded(tmp_path, text.encode("utf-8", "surrogatepass"))
    except SettingsError as error:
        told = error.problems
    else:
        list(
            yaml.parse(text.removeprefix("\ufeff"), Loader=document_module.Loader)
        )  # a mistake of syntax is never passed over
        return
    assert told
    assert all(problem.isprintable() for problem in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(
            "track:\n  set:\n    metadata.a: {'@path': $.propertys.total}",
            "3:17: track.set: '$.propertys.total': no event has a key 'propertys' at its top level; "
            "did you mean properties.total?",
            id="set",
        ),
        pytest.param(
            "track:\n  set:\n    metadata: {a: {'@template': '{{trait.x}}'}}",
            "3:15: track.set: 'trait.x': no event has a key 'trait' at its top level; did you mean properties.x?",
            id="template-in-braces",
        ),
        pytest.param(
            "identify:\n  set: {customer.email: {'@path': $.properties.email}}",
            "2:25: identify.set: '$.properties.email': identify events have traits, not properties; "
            "did you mean traits.email?",
            id="of-another-type",
        ),
        pytest.param(
            "page:\n  disabled: true\n  where: traits.plan = 1",
            "3:10: page.where: 'traits.plan': page events have properties, not traits; "
            "did you mean properties.plan or context.traits.plan?",
            id="where",
        ),
        pytest.param(
            "track:\n  add: {metadata.a: {'@path': $.x}}",
            "2:21: track.add: @path is sent as it stands here: add takes constants, set takes directives",
            id="a-directive-among-constants",
        ),
        pytest.param(
            "track:\n  set:\n    metadata.a: $.properties.order_id",
            '3:17: track.set: a text, taken as it stands; to read the event, write {"@path": …}',
            id="a-path-that-no-directive-reads",
        ),
        pytest.param(
            "track:\n  set:\n    metadata.a: {'@if': {exists: properties.coupon, then: a, else: b}}",
            '3:34: track.set: a text, taken as it stands; to read the event, write {"@path": …}',
            id="a-path-without-its-directive-in-a-directive",
        ),
        pytest.param(
            "track:\n  events: {Order: {set: {metadata: {a: ['{{properties.total}} EUR']}}}}",
            "2:41: track.events.Order.set: a text, taken as it stands; to read the event, write "
            '{"@template": …}',
            id="a-template-without-its-directive",
        ),
        pytest.param(
            "page:\n  disabled: false\n  add: {metadata.a: $.name}",
            '3:21: page.add: a text, taken as it stands; to read the event, write {"@path": …} below set',
            id="a-path-among-constants",
        ),
        pytest.param(
            "track:\n  set: {metadata.a: {'@arrayPath': [$.properties.items, {b: $.sku}]}}",
            '2:61: track.set: a text, taken as it stands; to read the event, write {"@path": …}',
            id="a-path-in-the-shape-of-a-list",
        ),
        pytest.param(
            "track:\n  set: {metadata.a: {'@template': $.properties.total}}",
            '2:35: track.set: a text, taken as it stands; to read the event, write {"@path": …}',
            id="a-template-without-braces",
        ),
        pytest.param(
            "track: {}\npage: {add: {metadata.a: 1}}",
            "2:1: page: these settings have no effect, because page.disabled is true where it is not given; "
            "page.disabled: false sends page events as custom events, a call each",
            id="settings-of-pages-that-are-off",
        ),
        pytest.param(
            "track: {add: {customer.source_id: shop}}",
            "1:35: track.add: customer.source_id is the same for all events, so all of them go to one customer",
            id="one-customer-for-all",
        ),
        pytest.param(
            "track: {set: {customer: {id: {'@literal': shop}, source_id: {'@path': userId}}}}",
            "1:30: track.set: customer.id is the same for all events, so all of them go to one customer",
            id="one-id-for-all",
        ),
        pytest.param(
            "group:\n  nulls: clear",
            "1:1: group: these settings have no effect, because group.disabled is true where it is not given; "
            "group.disabled: false sends group events as customer updates",
            id="settings-of-groups-that-are-off",
        ),
        pytest.param(
            "page: {disabled: true, add: {metadata.a: 1}}\nscreen: {mapping: {}, where: ''}\ngroup:\n  set:\n",
            None,
            id="pages-that-are-off-on-purpose",
        ),
        pytest.param(
            "track: {where: 'type != \"Tracks\"'}",
            '1:16: track.where: type != "Tracks": the types are identify, track, page, screen, group, alias; '
            'did you mean "track"?',
            id="a-type-that-there-is-not",
        ),
        pytest.param(
            "track: {events: {A: {where: 'type = \"page\"'}}}",
            '1:29: track.events.A.where: type = "page": this condition is asked of track events only; '
            "leave the type out",
            id="a-type-of-other-events",
        ),
        pytest.param(
            "track: {where: 'event != \"Order *\"'}",
            '1:16: track.where: event != "Order *": the * stands for itself here; '
            'did you mean !match(event, "Order *")?',
            id="a-star-that-is-no-pattern",
        ),
        pytest.param(
            'track: {where: \'type = "track" and event = "A * B" and properties.grade != "A*"\'}',
            None,
            id="values-that-are-meant",
        ),
        pytest.param(
            "track:\n  add: {metadata.a: $.50, metadata.b: 'properties. All', metadata.c: '{}', metadata.d: a.b}\n"
            "  set: {metadata.a: {'@arrayPath': [$.properties.items, {'@literal': $.x}]}, metadata.b: "
            "{'@replace': {pattern: $.a, replacement: context.b, value: {'@path': $.event}}}}",
            None,
            id="texts-that-are-meant",
        ),
        pytest.param(
            "track:\n  set: {customer.email: {'@if': {exists: {'@path': $.traits.email}, then: {'@path': "
            "$.traits.email}, else: {'@path': $.properties.email}}}}",
            None,
            id="one-place-stands-in-for-another",
        ),
        pytest.param(
            "track:\n  set: {metadata: {'@path': $.properties.metadata}, event: {'@template': '{{event}} ({{name}})'}}\n"
            "  where: event != null and (properties.total > 2 or traits.vip = true)\n"
            "  events: {Order: {set: {metadata.a: {'@path': ''}}}}",
            None,
            id="nothing-to-doubt",
        ),
        pytest.param(
            "track:\n  set: {metadata.a: {'@transform': {apply: {b: {'@path': $.event}}, mapping: {'@path': $.b}}}}",
            None,
            id="paths-of-what-a-directive-made",
        ),
    ],
)
def test_what_directives_and_conditions_read_that_no_event_has_is_doubted(
    tmp_path: Path, text: str, told: str | None
) -> None:
    """At the place of the entry; not where another place may stand in for it."""
    file = tmp_path / "s.yaml"
    file.write_text(text + "\n")
    _, doubts = load_with_doubts(file, environment={})
    assert doubts == ([] if told is None else [f"{file}:{told}"])


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        pytest.param("page: {disabled: false, set: {event: x}}", "page.set: email", id="page"),
        pytest.param("page: {set: {event: x}}", None, id="page-that-is-off"),
        pytest.param(
            "group: {disabled: false, mapping: {traits.name: customer.metadata.company}}",
            "group.mapping: metadata.group_id",
            id="group",
        ),
        pytest.param(
            "screen: {disabled: false, set: {customer.email: {'@path': $.userId}}}", None, id="all-filled"
        ),
        pytest.param(
            "track: {events: {Order: {set: {customer.metadata.a: 1}}}}",
            "track.events.Order.set: name, email, description, phone, address",
            id="entry",
        ),
        pytest.param(
            "track: {events: {Order: {add: {metadata.a: 1}}}}", None, id="entry-with-constants-only"
        ),
        pytest.param(
            "track: {events: {Order: {set: {metadata.a: 1}, disabled: true}}}", None, id="entry-that-is-off"
        ),
        pytest.param(
            "track: {extend_default: true, events: {Order: {set: {metadata.a: 1}}}}", None, id="said-of-track"
        ),
    ],
)
def test_what_a_section_no_longer_fills_is_told(tmp_path: Path, text: str, replaced: str | None) -> None:
    """Of each section that is on, and of entries where only they replace the default table."""
    notices = default_table_notices(loaded(tmp_path, text))
    if replaced is None:
        assert notices == []
    else:
        what, _, fields = replaced.partition(": ")
        path = what.rpartition(".")[0]
        told = f"{what} replaces the default table, which would fill these fields of the customer, too: {fields}. "
        assert notices == [f"{told}Set {path}.extend_default: true to keep it, or false if this is meant."]
