"""Make the page of the probe: its steps, what each finding can be, and what that means, as the code has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from generating.markdown import code, fenced, marked, sentence, table
from generating.markdown import page as page_of
from voucherify_sync.state.known_project import KEPT_DAYS
from voucherify_sync.voucherify.probe import MIN_CALLS_LEFT
from voucherify_sync.voucherify.probe_findings import ASSUMPTIONS, STAYS_UNKNOWN, STEPS, Assumption

_INTRODUCTION: Final = """\
`voucherify-sync check --probe` finds out how one Voucherify project behaves where no document settles it. It writes to
the project: it creates a customer of its own, updates it, sends one custom event for it, and deletes the customer. It
asks first; `--yes` answers the question. [Probe a project](../how-to/probe-a-project.md) shows how to use it."""

_MADE: Final = """\
Everything that it makes is named `voucherify-sync-probe-…` and has `voucherify_sync_probe: true` in its metadata. There
is no e-mail address, no phone number and no address but the city `Probe`. With `--probe-order` one order of amount 0
stays: the API has no way to delete it. No event of yours is read or sent, and the ledger is not written.

The customer is deleted after Ctrl-C and after an error, too, in up to three tries. If that fails, the command names the
customer, and ends with 3."""

_STEPS: Final = """\
A step that fails leaves its findings unknown, and the rest goes on. Where the API answers with 403, the finding is "not
permitted". With fewer than {least} calls left until the limit begins again, nothing is begun."""

_FINDINGS: Final = """\
`ok`: the assumption holds. `differs`: it does not, and the line says what that means for a run. `unknown`: it could not
be found out. The code in the first column is the `id` in `--json`."""

_USE: Final = """\
The findings are kept for {days} days in `NAME.probe.json` beside the [ledger](../glossary.md#ledger) `NAME.ledger`,
with a hash of the Application ID. Only you may read the file. `status` shows what differs. Runs use it:

- The period of the limit: a run that knows it gives an exact time from its first answer on, as long as the API tells
  the same limit.
- Whether an import changes an order that exists: then failed orders that the API does not name are looked for.
- `check`, `plan` and `replay` warn of `identify.nulls: clear` where nulls do not clear, and of
  `delivery.on_doubt: verify` where the activity does not show events as they were sent."""

_JSON: Final = """\
`--json` prints one object: `probe` with `version`, `url`, `app_id_prefix`, `started_at`, `calls`, `deleted`,
`findings`, `switches` and `stays_unknown`. A finding has `id`, `assumed`, `found`, `holds` (true, false, or null for
unknown), `evidence` and `meaning`. Evidence holds statuses, numbers of rate headers and times. There are no keys and no
texts of answers in it, so that it can be shown to others."""


def page() -> str:
    """Return the page."""
    switches = [each for each in ASSUMPTIONS.values() if each.switch]
    return page_of(
        "Probe",
        "voucherify_sync/voucherify/probe_findings.py",
        _INTRODUCTION,
        _MADE,
        "## Steps\n\n" + _STEPS.format(least=MIN_CALLS_LEFT),
        table(("step", "calls"), ((str(number), words) for number, words in STEPS.items())),
        f"## Findings\n\n{_FINDINGS}",
        table(
            ("finding", "step", "assumed", "found otherwise: what it means"), map(_row, ASSUMPTIONS.values())
        ),
        "## What stays unknown\n\n" + "\n".join(f"- {sentence(each)}" for each in STAYS_UNKNOWN),
        "## What is done with the findings\n\n" + _USE.format(days=KEPT_DAYS),
        "The last line of the output is a command that starts a [sandbox](sandbox.md) which behaves like the project, "
        f"by {len(switches)} of its [switches](sandbox.md#switches).",
        f"## JSON\n\n{_JSON}",
        fenced("voucherify-sync check --probe --yes --json > project.json", "sh"),
        "## Exit codes\n\n"
        + table(
            ("code", "meaning"),
            (
                ("0", "all assumptions hold, or are not known"),
                ("2", "there is no terminal to ask on, and no `--yes`"),
                ("3", "one does not hold, or the customer could not be deleted"),
                ("4", f"fewer than {MIN_CALLS_LEFT} calls are left, or the server asks for a long wait"),
                ("5", "the keys are refused, or may not create customers"),
                ("130", "the answer was no, or Ctrl-C ended it and the customer is deleted"),
            ),
        ),
    )


def _row(each: Assumption) -> tuple[str, str, str, str]:
    return f"{each.name}<br>{code(each.id)}", str(each.step), each.assumed, "<br>".join(_meanings(each))


def _meanings(each: Assumption) -> Iterator[str]:
    for found, meaning in each.meanings.items():
        if found not in each.holds_for:
            yield f"{code(found) if found else 'unknown'}: {marked(meaning)}"
