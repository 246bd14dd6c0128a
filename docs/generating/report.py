"""The fields of the JSON report and of the dead letters. A test holds them against what runs write."""

from __future__ import annotations

from typing import Final

from generating.markdown import code, table
from generating.markdown import page as page_of
from voucherify_sync.report.run_report import CAP, EXAMPLES, OTHER
from voucherify_sync.state.dead_letters import KEPT

FIELDS: Final = {
    "version": "of voucherify-sync",
    "run_id": "name of the run, as in the ledger, `--again-since` and the file of dead letters",
    "mode": "`live`, `dry_run` or `sandbox`",
    "status": "how it ended, in a word: see [exit codes](exit-codes.md)",
    "exit_code": "how it ended",
    "started_at": "UTC",
    "finished_at": "UTC",
    "duration_s": "seconds",
    "input.sources[].name": "a file as it was named or found; `-` is stdin",
    "input.sources[].lines": "lines read of it",
    "input.sources[].bytes": "bytes read of it, as they lie on disk",
    "input.sources[].damaged": "what is wrong with it, or null",
    "input.lines": "lines read of all sources",
    "input.bytes": "bytes read of all sources",
    "events.read": "records read",
    "events.by_type.<type>": "records read, by the event's own type; `(none)` where there is none",
    "outcomes.<state>": "records by state; they add up to `events.read`",
    "reasons.<state>.<reason>.count": "records: see [reasons](reasons.md)",
    "reasons.<state>.<reason>.examples[]": f"the first {EXAMPLES} of them, as `file:line`",
    "reasons.<state>.<reason>.detail": "a sentence about the first of them, or null",
    "api.calls": "calls made, retries and polls among them",
    "api.retries": "calls that repeated one",
    "api.throttled": "calls answered by 429",
    "api.limit": "calls that the API allows in a period, or null where it did not say",
    "api.period_s": "that period in seconds, or null",
    "api.by_endpoint.<endpoint>.<state>": "records by the endpoint that they go to, and by state",
    "mapping.<type>.rows.<row>": "how often a row of the mapping found a value",
    "mapping.<type>.unmapped.<path>": "how often a value was given that no row takes",
    "mapping.<type>.dropped.<path>.<reason>": "how often a row found a value that its field cannot hold",
    "timeline.bucket_s": "width of a bucket in seconds; null instead of `timeline` in a dry run",
    "timeline.delivered[]": "records delivered, by bucket",
    "timeline.failed[]": "records failed, by bucket",
    "timeline.in_doubt[]": "records left in doubt, by bucket",
    "settings.digest": "equal for settings that make equal requests of equal events",
    "stopped_by": "what ended the run early, and what to do about it, or null",
    "dead_letters": "the file of dead letters, or null",
    "older_updates.count": "customer updates older than one sent before them",
    "older_updates.capped": "true: there were too many customers to count all",
    "bulk.updates": "records that say something of a customer; `bulk` is there only with `--bulk`",
    "bulk.delivered": "customers sent",
    "bulk.failed": "customers refused or given up",
    "bulk.unchanged": "customers not sent, since nothing about them is new",
    "bulk.requests": "bulk requests",
    "bulk.polls": "calls that asked how a bulk request went",
    "bulk.bytes": "of all bulk requests",
}
"""Path of a field -> what it holds. `<…>` stands for any key, `[]` for the items of a list."""

LETTER_FIELDS: Final = {
    "outcome": "the state: " + ", ".join(f"`{state}`" for state in sorted(KEPT)),
    "reason": "as in the report",
    "source": "`file:line` where the event was read",
    "status": "HTTP status of the last answer, or null",
    "response": "the answer, or null",
    "key": "the record's key in the ledger, in hexadecimal: `retry FILE` settles that record, whatever was edited",
    "run": "id of the run that left it",
    "event": "the event as it came; null where an earlier version did not keep it",
    "raw": "instead of `event`, where it was no JSON",
    "raw_base64": "instead of `event`, where it was no text",
}
"""Field of a line of dead letters -> what it holds."""

_INTRODUCTION: Final = f"""\
`--report FILE.json` writes one JSON object at the end of a run, `--report -` prints it, and `--report FILE.html` makes
a page for people of it. A report that cannot be written at the end is kept in the state directory instead
(`~/.local/state/voucherify-sync/reports/RUN.json` or `.html`), and a warning says where. Fields are added in later
versions, never renamed.

A map or list with more than {CAP:,} keys adds up what comes later under `{OTHER}`. Reasons are codes of our own and
Voucherify's error keys, never its free text."""

_LETTERS: Final = """\
What ends invalid, failed or in doubt is kept in the ledger. `status --failed` and `status --doubt` print it as one JSON
object a line, and `--dead-letters FILE` writes that of one run to a file, all invalid records included, readable by its
owner only. `voucherify-sync retry` sends them again, `voucherify-sync retry FILE` those of an edited file. An event in
doubt has `sent_at`, too; where the event is not known, `type`, `name` and `messageId` say what is."""

_DRY_RUN: Final = """\
`replay --dry-run` prints one JSON object a request: `method`, `path`, `body` (the very bytes that would be sent),
`source` (`file:line`) and `messageId`. With `--bulk` the folded customers come first, one a line, with null for the
last two."""


def page() -> str:
    """Return the page."""
    return page_of(
        "Report and dead letters",
        "docs/generating/report.py, which a test holds against real runs,",
        _INTRODUCTION,
        _fields(FIELDS),
        f"## Dead letters\n\n{_LETTERS}",
        _fields(LETTER_FIELDS),
        f"## Lines of a dry run\n\n{_DRY_RUN}",
    )


def _fields(fields: dict[str, str]) -> str:
    return table(("field", "what it holds"), [(code(name), meaning) for name, meaning in fields.items()])
