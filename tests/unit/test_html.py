"""The page of a run: whole, true to the report, nothing to load, and no text of anybody else is ever markup."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
import stat
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reports import run_report

from voucherify_sync.errors import UsageProblem
from voucherify_sync.report.html import common_folder, percent_of, render
from voucherify_sync.report.run_report import RunReport, write_report

VOID = {"meta", "rect", "line", "wbr"}
STATES = ("delivered", "planned", "skipped", "duplicate", "invalid", "failed", "in_doubt", "pending")
MARKUP = "<script>alert(1)</script>\"'`{{ 7*7 }}{% x %}&amp;<img src=x onerror=y>"
CONTROL = "\u202egnp\x1b[2J\x00\u2066\u200b\r\n\udcff"
HOSTILE = MARKUP + CONTROL


class Page(HTMLParser):
    """A parsed page: its tags, attributes and text; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name == "href"]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag
        self.text += " " if tag in {"dt", "dd", "th", "td", "p", "div"} else ""

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += data

    def has(self, *words: str) -> bool:
        """Tell whether the words stand on the page one after the other."""
        return " ".join(words) in " ".join(self.text.split())


def reason(count: int, detail: str | None = None, *examples: str) -> dict[str, Any]:
    """Return a reason as a report has it."""
    return {"count": count, "examples": list(examples), "detail": detail}


def fields(**changes: Any) -> dict[str, Any]:
    """Return the report of a run in which something of everything happened, as JSON values."""
    return {
        "status": "incomplete",
        "exit_code": 3,
        "started_at": "2025-03-01T12:00:00.000Z",
        "finished_at": "2025-03-01T12:02:30.000Z",
        "duration_s": 150.0,
        "input": {
            "sources": [
                {"name": "logs/a/1.gz", "lines": 900, "bytes": 90_000, "damaged": None},
                {"name": "logs/b/2.gz", "lines": 100, "bytes": 10_000, "damaged": "cut off at byte 9,000"},
            ],
            "lines": 1_000,
            "bytes": 100_000,
        },
        "events": {"read": 1_000, "by_type": {"track": 700, "identify": 297, "(none)": 3}},
        "outcomes": dict(zip(STATES, (950, 0, 20, 5, 3, 12, 2, 8), strict=True)),
        "reasons": {
            "delivered": {},
            "skipped": {"type_page": reason(20, None, "logs/a/1.gz:7")},
            "duplicate": {"repeated": reason(5, None, "logs/b/2.gz:1")},
            "invalid": {"not_json": reason(3, "Extra data at character 5", "logs/a/1.gz:2")},
            "failed": {
                "invalid_payload": reason(12, "HTTP 400: Bad Request", "logs/a/1.gz:17", "logs/a/1.gz:98")
            },
            "in_doubt": {"reset": reason(2, "the connection ended", "logs/b/2.gz:44")},
        },
        "api": {
            "calls": 980,
            "retries": 16,
            "throttled": 1,
            "limit": 500,
            "period_s": 60.0,
            "by_endpoint": {
                "POST /v1/events": {"delivered": 670, "failed": 12, "in_doubt": 2, "pending": 8},
                "POST /v1/customers": {"delivered": 280},
            },
        },
        "mapping": {
            "identify": {
                "events": 280,
                "rows": {"traits.email: customer.email": 140, "traits.phone: customer.phone": 0},
                "unmapped": {"traits.plan": 200},
                "dropped": {"customer.phone": {"not_text": 9}},
            },
            "track": {"events": 700, "rows": {}, "unmapped": {"properties.total": 600}, "dropped": {}},
        },
        "findings": {
            "named_by_properties": {
                "count": 7,
                "examples": [{"position": "logs/a/1.gz:3", "text": "Monopoly"}],
            }
        },
        "timeline": {
            "bucket_s": 32.0,
            "delivered": [200, 210, 190, 200, 150],
            "failed": [0, 0, 12, 0, 0],
            "in_doubt": [0, 1, 0, 0, 1],
        },
        "dead_letters": "/state/dead/20250301.ndjson",
        **changes,
    }


def report(**changes: Any) -> RunReport:
    """Return that report, typed."""
    return run_report(**fields(**changes))


def infected(value: Any) -> Any:
    """Put hostile text into every text and every name of a report that is not our own word."""
    own = {"status", "started_at", "finished_at", "timeline", "outcomes"}
    if isinstance(value, dict):
        return {name: part if name in own else infected(part) for name, part in value.items()}
    if isinstance(value, list):
        return [infected(part) for part in value]
    return value + HOSTILE if isinstance(value, str) else value


def infected_names(full: dict[str, Any]) -> dict[str, Any]:
    """Put hostile text into the names that come from the input, too."""
    for names in (
        full["events"]["by_type"],
        *full["reasons"].values(),
        full["api"]["by_endpoint"],
        *(part for facts in full["mapping"].values() for part in facts.values() if isinstance(part, dict)),
        full["mapping"]["identify"]["dropped"]["customer.phone"],
    ):
        for name in list(names):
            names[name + HOSTILE] = names[name]
    return full


def test_the_page_starts_with_the_whole_run_in_one_sentence() -> None:
    """The title of the window is the same sentence."""
    sentence = (
        "Replayed 1,000 records: 950 delivered, 20 skipped, 5 duplicates, 3 invalid, 12 failed, "
        "2 in doubt, 8 pending."
    )
    html = render(report())
    assert f"<title>{sentence}</title>" in html
    assert f"<h1>{sentence}</h1>" in html
    assert Page(html).has(
        "Not everything was delivered · 1 March 2025, 12:00:00 to 12:02:30 UTC (2 min 30 s)"
    )


def test_the_funnel_leads_from_read_to_delivered() -> None:
    """Each step tells how many came so far, and where the others went."""
    page = Page(render(report()))
    assert page.has(
        "Read 1,000 100% 20 skipped 5 duplicates 3 invalid 8 pending "
        "Sent 964 96.4% 12 failed 2 in doubt Delivered 950 95.0%"
    )


def test_a_dry_run_ends_where_sending_would_begin() -> None:
    """It has no calls and no chart; it says what would be sent."""
    counts = dict.fromkeys(STATES, 0) | {"planned": 980, "skipped": 20}
    full = report(mode="dry_run", status="complete", outcomes=counts, timeline=None)
    page = Page(render(full))
    assert page.has("Read 1,000 100% 20 skipped Would be sent 980 98.0% Reasons")
    assert page.has("A dry run makes no calls.")
    assert not page.has("Over time")
    assert not page.has("throttled")


def test_reasons_have_counts_details_and_examples() -> None:
    """What needs somebody comes first; the folder that all files are in is named once."""
    page = Page(render(report()))
    assert [id_ for id_ in page.ids if id_ in STATES] == [
        "failed",
        "in_doubt",
        "invalid",
        "duplicate",
        "skipped",
    ]
    assert page.has("invalid_payload", "HTTP 400: Bad Request", "a/1.gz:17", "a/1.gz:98", "12")
    assert page.has("reset", "the connection ended before an answer came", "the connection ended")
    assert page.has("Paths are relative to logs/")
    assert page.has("Dead letters: /state/dead/20250301.ndjson")


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        pytest.param(["/a/b/1.gz", "/a/c/2.gz"], "/a/", id="folders-of-one-folder"),
        pytest.param(["/a/bc/1.gz", "/a/bd/1.gz"], "/a/", id="names-that-begin-alike"),
        pytest.param(["/a/b.gz"], "/a/", id="one-file"),
        pytest.param(["b.gz"], "", id="no-folder"),
        pytest.param(["a/b.gz", "c.gz"], "", id="not-all-in-a-folder"),
        pytest.param(["a/b.gz", "-"], "", id="stdin"),
        pytest.param(["/a.gz", "/b/c.gz"], "", id="nothing-but-the-root"),
        pytest.param(["a/b/1.gz", "a/b/2.gz", "(other)"], "a/b/", id="sources-that-found-no-room"),
        pytest.param([], "", id="none"),
    ],
)
def test_the_common_folder_is_taken_off(names: list[str], folder: str) -> None:
    """It is a whole folder, common to all sources."""
    assert common_folder(names) == folder


def test_damage_is_said_on_top_and_shown_first() -> None:
    """A source that could not be read to its end must not hide below a thousand that could."""
    page = Page(render(report()))
    assert page.has("1 source is damaged and could not be read to the end: see Input.")
    assert page.has("b/2.gz", "Damaged: cut off at byte 9,000", "100", "10.0 kB", "a/1.gz", "900", "90.0 kB")


def test_what_stopped_the_run_is_said_with_what_to_do() -> None:
    """Both sentences of an error are there."""
    page = Page(render(report(status="stopped", stopped_by="The cycle is used up.\nRun it again.")))
    assert page.has("Stopped early")
    assert page.has("The cycle is used up.", "Run it again.")


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        pytest.param({"limit": 500, "period_s": 60.0}, "65.3% of the limit in that time: 500 calls in 1 min"),
        pytest.param(
            {"limit": 500, "period_s": None},
            "The API allows 500 calls in a window whose length is not known yet.",
        ),
        pytest.param({"limit": None, "period_s": None}, "The API reported no rate limit."),
    ],
    ids=["known", "period-unknown", "unknown"],
)
def test_calls_are_held_against_the_limit(limit: dict[str, Any], said: str) -> None:
    """As far as the run learnt it: 980 calls in what counts as three periods."""
    page = Page(render(report(api={**fields()["api"], **limit})))
    assert page.has("calls 980 retries 16 throttled (429) 1")
    assert page.has(said)


def test_coverage_tells_what_rows_found_and_what_is_not_mapped() -> None:
    """Shares are of the events of which requests were made."""
    page = Page(render(report()))
    assert page.has("traits.email → customer.email", "140", "50.0%")
    assert page.has("Never matched: traits.phone")
    assert page.has("customer.phone not_text", "9")
    assert page.has("Not mapped", "events", "traits.plan", "200")


def test_the_run_can_be_told_from_others() -> None:
    """Run, settings and version stand at the end."""
    page = Page(render(report()))
    assert page.has(
        "Run 20250301-120000-ab12 Exit code 3 Settings digest 4288c0b33aa9 Version voucherify-sync 0.1.0"
    )


def test_the_chart_can_be_read_without_seeing_it() -> None:
    """The drawing has a sentence, and each bar its numbers."""
    html = render(report())
    assert 'role="img" aria-label="950 delivered, 12 failed, 2 in doubt in 2 min 30 s;' in html
    assert "<title>1:04: 190 delivered, 12 failed</title>" in html


def test_long_tables_are_folded_and_very_long_ones_cut() -> None:
    """A page that nobody can open helps nobody; the JSON report has everything."""
    reasons = {f"reason_{number:03}": reason(1) for number in range(450)}
    page = Page(render(report(reasons={**fields()["reasons"], "failed": reasons})))
    assert page.has("435 more reasons")
    assert page.has("The JSON report has 250 more.")
    assert page.has("reason_199")
    assert not page.has("reason_200")


def test_a_run_that_read_nothing_shows_nothing_but_that() -> None:
    """No empty funnel, no empty table."""
    page = Page(
        render(
            report(
                status="complete",
                input={"sources": [], "lines": 0, "bytes": 0},
                events={"read": 0, "by_type": {}},
                outcomes=dict.fromkeys(STATES, 0),
                reasons={key: {} for key in fields()["reasons"]},
                api={},
                mapping={"identify": {}, "track": {}},
                timeline=None,
                dead_letters=None,
            )
        )
    )
    assert page.has("No events were read.")
    assert page.ids == ["run"]


def test_nothing_is_loaded_and_nothing_runs() -> None:
    """One file: no script, no address, no style but the one whose hash the policy names."""
    html = render(report())
    page = Page(html)
    style = html.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy.replace("'", "&#39;") in html
    assert not page.tags & {
        "script",
        "img",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
        "use",
    }
    assert not page.attributes & {
        "src",
        "style",
        "srcset",
        "action",
        "formaction",
        "background",
        "xlink:href",
    }
    assert not [name for name in page.attributes if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", html)
    assert all(link.removeprefix("#") in page.ids for link in page.links)
    assert len(set(page.ids)) == len(page.ids)


def test_hostile_text_is_only_ever_text() -> None:
    """Wherever it stands: the page has the tags and attributes that it has without it."""
    honest = Page(render(report(run_id="r1", stopped_by="Stopped.")))
    html = render(
        run_report(**infected_names(infected(copy.deepcopy(fields(run_id="r1", stopped_by="Stopped.")))))
    )
    page = Page(html)
    assert page.tags == honest.tags
    assert page.attributes == honest.attributes
    assert page.ids == honest.ids
    assert page.text.count(MARKUP) > 30
    assert MARKUP + r"\u202egnp\x1b[2J\x00\u2066\u200b\x0d\x0a\udcff" in page.text
    assert {unicodedata.category(character) for character in html} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == {"Cc"}
    assert {character for character in html if unicodedata.category(character) == "Cc"} == {"\n"}


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_only_nothing_is_0_percent_and_only_all_is_100(part: int, rest: int) -> None:
    """99.97 percent is not everything."""
    found = percent_of(part, part + rest)
    assert (found == 0) == (part == 0)
    assert (found == 100) == (part > 0 and rest == 0)


def test_the_file_is_private_and_whole(tmp_path: Path) -> None:
    """It holds names of files and of fields: 0600, and an older one is replaced as a whole."""
    path = tmp_path / "run.html"
    write_report(path, report())
    write_report(path, report())
    assert path.read_text(encoding="utf-8") == render(report())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.html"]


def test_a_page_that_cannot_be_written_is_the_users_to_fix(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(UsageProblem, match=r"missing/run\.html"):
        write_report(tmp_path / "missing" / "run.html", report())
