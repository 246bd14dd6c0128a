"""The report of a run goes in; what its page shows comes out: lists in order, shares and sentences.

Nothing is escaped yet, and no HTML is written here: that is the template's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from voucherify_sync.bookkeeping.chart import chart
from voucherify_sync.bookkeeping.headline import ENDINGS, headline
from voucherify_sync.bookkeeping.page import Calls, Coverage, Group, Lost, Part, Reason, Row, Step, View
from voucherify_sync.bookkeeping.report import NONE, OTHER
from voucherify_sync.model import Json
from voucherify_sync.words import counted, size, span

_MODES = {"live": "Live run", "sandbox": "Run against the sandbox", "dry_run": "Dry run"}
_STATUS = {
    "complete": "Complete",
    "incomplete": "Not everything arrived",
    "stopped": "Stopped early",
    "refused": "Refused",
    "interrupted": "Interrupted",
    "unusable": "Could not run",
    "broken": "Program error",
}
_REASONS = {
    "failed": "Failed",
    "in_doubt": "In doubt",
    "invalid": "Invalid",
    "duplicate": "Not sent again",
    "skipped": "Skipped by a rule",
}
_ENDPOINTS = {"identify": "POST /v1/customers", "track": "POST /v1/events"}
"""Type of event -> what the endpoints begin with that take its requests, one by one or in bulk."""


def view(report: Json) -> View:
    """Choose what the page shows of a report, as Report.to_dict gives it."""
    started, finished = _moment(report["started_at"]), _moment(report["finished_at"])
    sources, status = report["input"]["sources"], str(report["status"])
    folder = _common_folder([source["name"] for source in sources])
    return View(
        title=headline(report),
        mode=_MODES.get(report["mode"], str(report["mode"])),
        dry=report["mode"] == "dry_run",
        status=status if status in _STATUS else "unknown",
        status_text=_STATUS.get(status, status),
        when=_period(started, finished, report["duration_s"]),
        facts=list(_facts(report)),
        stopped_by=report["stopped_by"].split("\n") if report.get("stopped_by") else [],
        damaged=sum(source["damaged"] is not None for source in sources),
        funnel=list(_funnel(report)),
        groups=list(_groups(report, folder)),
        chart=chart(report.get("timeline"), started, report["duration_s"]),
        calls=_calls(report),
        coverage=[_coverage(type_, report) for type_ in _ENDPOINTS],
        folder=folder,
        sources=[{**source, "name": source["name"].removeprefix(folder)} for source in _by_damage(sources)],
        input=f"{counted(report['input']['lines'], 'line')}, {size(report['input']['bytes'])} on disk",
        types=[
            ("no type" if type_ == NONE else type_, n) for type_, n in report["events"]["by_type"].items()
        ],
        dead_letters=report.get("dead_letters"),
    )


def share(part: float, whole: float) -> float:
    """Return percent with one decimal, rounded so that only nothing is 0 and only all is 100."""
    if not whole or not part:
        return 0.0
    exact = 100 * part / whole
    return min(max(round(exact, 1), 0.1), 99.9) if part < whole else 100.0


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _period(started: datetime, finished: datetime, duration_s: float) -> str:
    text = f"{started:%-d %B %Y, %H:%M:%S}"
    if started.date() != finished.date():
        text += f" to {finished:%-d %B %Y, %H:%M:%S}"
    elif f"{started:%T}" != f"{finished:%T}":
        text += f" to {finished:%H:%M:%S}"
    return f"{text} UTC ({span(duration_s)})"


def _facts(report: Json) -> Iterator[tuple[str, str]]:
    yield "Run", report["run_id"]
    yield "Exit code", str(report["exit_code"])
    if digest := (report.get("settings") or {}).get("digest"):
        yield "Settings digest", digest
    yield "Version", f"voucherify-sync {report['version']}"


def _funnel(report: Json) -> Iterator[Step]:
    counts: dict[str, int] = report["outcomes"]
    read = report["events"]["read"]

    def step(label: str, *lost: str) -> Step:
        parts = [Part(state, ENDINGS[state].format(f"{counts[state]:,}")) for state in lost if counts[state]]
        return Step(label, left, share(left, read), parts)

    left = read
    yield step("Read", "skipped", "duplicate", "invalid", "pending")
    if report["mode"] == "dry_run":
        left = counts["planned"]
        yield step("Would be sent")
        return
    left = counts["delivered"] + counts["failed"] + counts["in_doubt"]
    yield step("Sent", "failed", "in_doubt")
    left = counts["delivered"]
    yield step("Delivered")


def _groups(report: Json, folder: str) -> Iterator[Group]:
    for state, label in _REASONS.items():
        found: dict[str, Any] = report["reasons"].get(state, {})
        if found:
            reasons = [
                Reason(
                    code=code,
                    count=facts["count"],
                    detail=facts["detail"],
                    examples=[example.removeprefix(folder) for example in facts["examples"]],
                )
                for code, facts in found.items()
            ]
            yield Group(state, label, report["outcomes"][state], reasons)


def _calls(report: Json) -> Calls:
    api = report["api"]
    limit, period_s = api.get("limit"), api.get("period_s")
    used = None
    if limit and period_s:
        periods = max(math.ceil(report["duration_s"] / period_s), 1)
        used = share(min(api["calls"], limit * periods), limit * periods)
    told = None
    if limit:
        told = f"{limit:,} in {span(period_s)}" if period_s else f"{limit:,} in a time not yet learnt"
    endpoints: dict[str, dict[str, int]] = api["by_endpoint"]
    states = [state for state in report["outcomes"] if any(state in counts for counts in endpoints.values())]
    return Calls(
        made=api["calls"],
        retries=api["retries"],
        throttled=api["throttled"],
        limit=told,
        share=used,
        states=states,
        by_endpoint=[
            (name, [counts.get(state, 0) for state in states]) for name, counts in endpoints.items()
        ],
    )


def _coverage(type_: str, report: Json) -> Coverage:
    facts = report["mapping"].get(type_, {})
    endpoints: dict[str, dict[str, int]] = report["api"]["by_endpoint"]
    requests = sum(sum(n.values()) for name, n in endpoints.items() if name.startswith(_ENDPOINTS[type_]))
    rows = []
    for name, count in facts.get("rows", {}).items():
        source, _, destination = name.rpartition(": ")
        rows.append(Row(source, destination, count, share(min(count, requests), requests)))
    unmapped = [Lost(path, count) for path, count in facts.get("unmapped", {}).items()]
    dropped = [
        Lost(path, count, why)
        for path, reasons in facts.get("dropped", {}).items()
        for why, count in reasons.items()
    ]
    return Coverage(
        type=type_,
        requests=requests,
        fired=[row for row in rows if row.count],
        silent=[row for row in rows if not row.count],
        unmapped=sorted(unmapped, key=_most_frequent_first),
        dropped=sorted(dropped, key=_most_frequent_first),
    )


def _most_frequent_first(field: Lost) -> tuple[int, str]:
    return -field.count, field.path


def _common_folder(names: list[str]) -> str:
    """Return the path that all sources begin with, slash included, or nothing: it is said once, not in each row."""
    folders = [name.split("/")[:-1] for name in names if name != OTHER]
    common = [
        parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False))
    ]
    return "/".join([*common, ""]) if any(common) else ""


def _by_damage(sources: list[Json]) -> list[Json]:
    return sorted(sources, key=lambda source: source["damaged"] is None)
