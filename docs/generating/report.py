"""The fields of the JSON report and of the dead letters. A test compares them with what runs write."""

from __future__ import annotations

from typing import Final

from generating.markdown import code, table
from generating.markdown import page as page_of
from voucherify_sync.report.run_report import CAP, EXAMPLES, OTHER
from voucherify_sync.state.dead_letters import DEAD_LETTER_STATES

FIELDS: Final = {
    "version": "of voucherify-sync",
    "run_id": "id of the run, as in the ledger, `--again-since` and the dead letters",
    "mode": "`live`, `dry_run` or `sandbox`",
    "status": "how the run ended, in a word: see [exit codes](exit-codes.md)",
    "exit_code": "exit code of the command",
    "started_at": "UTC",
    "finished_at": "UTC",
    "duration_s": "seconds",
    "input.sources[].name": "the source as it was named or found; `-` is stdin",
    "input.sources[].lines": "lines read",
    "input.sources[].bytes": "bytes read (compressed size)",
    "input.sources[].damaged": "what is wrong with the source, or null",
    "input.lines": "lines read from all sources",
    "input.bytes": "bytes read from all sources (compressed size)",
    "events.read": "records read",
    "events.by_type.<type>": "records read, by the type of the event; `(none)` without a type",
    "outcomes.<state>": "records by state; they add up to `events.read`",
    "reasons.<state>.<reason>.count": "records: see [reasons](reasons.md)",
    "reasons.<state>.<reason>.examples[]": f"the first {EXAMPLES} of them, as `file:line`",
    "reasons.<state>.<reason>.detail": "a sentence about the first of them, or null",
    "api.calls": "calls made, including retries and polls",
    "api.retries": "calls that repeated an earlier one",
    "api.throttled": "calls answered with 429",
    "api.limit": "calls that the API allows in a period, or null if it reported no limit",
    "api.period_s": "that period in seconds, or null",
    "api.by_endpoint.<endpoint>.<state>": "records by endpoint and state",
    "mapping.<type>.rows.<row>": "how often the row matched",
    "mapping.<type>.unmapped.<path>": "how often a value was not mapped because no row reads it",
    "mapping.<type>.dropped.<path>.<reason>": "how often a row found a value that its field cannot hold",
    "timeline.bucket_s": "width of a bucket in seconds; in a dry run `timeline` is null",
    "timeline.delivered[]": "records delivered, by bucket",
    "timeline.failed[]": "records failed, by bucket",
    "timeline.in_doubt[]": "records in doubt, by bucket",
    "settings.digest": "hash: equal if the settings make equal requests from equal events",
    "stopped_by": "what ended the run early and what to do, or null",
    "dead_letters": "the file of dead letters, or null",
    "older_updates.count": "customer updates older than one sent before them",
    "older_updates.capped": "true if there were too many customers to count all",
    "bulk.updates": "records with customer fields; `bulk` exists only with `--bulk`",
    "bulk.delivered": "customers sent",
    "bulk.failed": "customers refused or given up",
    "bulk.unchanged": "customers not sent, because nothing about them is new",
    "bulk.requests": "bulk requests",
    "bulk.polls": "calls that asked about a bulk request",
    "bulk.bytes": "size of all bulk requests",
}
"""Path of a field -> what it holds. `<…>` stands for any key, `[]` for the items of a list."""

LETTER_FIELDS: Final = {
    "outcome": "the state: " + ", ".join(f"`{state}`" for state in sorted(DEAD_LETTER_STATES)),
    "reason": "as in the report",
    "source": "`file:line` where the event was read",
    "status": "HTTP status of the last answer, or null",
    "response": "the answer, or null",
    "key": "key of the record in the ledger, in hexadecimal: `retry FILE` updates that record, whatever you edited",
    "run": "id of the run that kept it",
    "event": "the event as it came; null if an earlier version did not keep it",
    "raw": "instead of `event`, if the line was not JSON",
    "raw_base64": "instead of `event`, if the line was not text",
}
"""Field of a line of dead letters -> what it holds."""

_INTRODUCTION: Final = f"""\
`--report FILE.json` writes one JSON object at the end of a run. `--report -` prints it. `--report FILE.html` writes the
same as a page for people. If a report cannot be written at the end, it goes to the state directory
(`~/.local/state/voucherify-sync/reports/RUN.json` or `.html`), and a warning says where. Later versions add fields,
but never rename them.

A map or list holds at most {CAP:,} keys. What comes later is added up under `{OTHER}`. Reasons are codes of this
program and error keys of Voucherify, never its free text."""

_LETTERS: Final = """\
The ledger keeps every record that ended failed, in doubt or invalid as a [dead letter](../glossary.md#dead-letter).
`status --failed` and `status --doubt` print them, one JSON object per line. `--dead-letters FILE` writes those of one
run to a file, including all invalid records; only its owner can read it. `voucherify-sync retry` sends dead letters
again, `voucherify-sync retry FILE` those of an edited file. An event in doubt also has `sent_at`. If the event is not
known, `type`, `name` and `messageId` hold what is known."""

_DRY_RUN: Final = """\
`replay --dry-run` prints one JSON object per request: `method`, `path`, `body` (the exact bytes of the request),
`source` (`file:line`) and `messageId`. With `--bulk` the folded customers come first, one per line. Their `source` and
`messageId` are null."""


def page() -> str:
    """Return the page."""
    return page_of(
        "Report and dead letters",
        "docs/generating/report.py, which a test compares with real runs,",
        _INTRODUCTION,
        _fields(FIELDS),
        f"## Dead letters\n\n{_LETTERS}",
        _fields(LETTER_FIELDS),
        f"## Lines of a dry run\n\n{_DRY_RUN}",
    )


def _fields(fields: dict[str, str]) -> str:
    return table(("field", "what it holds"), [(code(name), meaning) for name, meaning in fields.items()])
