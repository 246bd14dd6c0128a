"""What a report's reasons mean and what to do, from the library's registry of them."""

from __future__ import annotations

from typing import Final

from generating.markdown import code, member_docs, sentence, table
from generating.markdown import page as page_of
from voucherify_sync.outcomes import REASONS, WHY_LOST, State

_INTRODUCTION: Final = """\
Every record that is read ends in exactly one state:

`read = delivered + planned + skipped + duplicate + invalid + failed + in_doubt + pending`

Most states come with a reason: in the summary, the [report](report.md), the log, the dead letters and `status`."""

_KEYS: Final = """\
Any other reason of `failed` is the `key` of Voucherify's own error, such as `invalid_payload`,
`metadata_validation_failed` or `not_found`; the dead letter holds the whole answer. Mend the mapping or the project's
metadata schema, then `voucherify-sync retry`."""

_LOST: Final = """\
A record can be sent and lose values on the way. `explain` and `coverage` show these, `dropped` in the report counts
some of them."""


def page() -> str:
    """Return the page."""
    return page_of(
        "Reasons",
        "voucherify_sync/outcomes.py",
        _INTRODUCTION,
        *map(_state, State),
        f"## Values that do not arrive\n\n{_LOST}",
        table(("code", "meaning"), [(code(key), sentence(words)) for key, words in WHY_LOST.items()]),
    )


def _state(state: State) -> str:
    parts = [f"## {state}", member_docs(State)[state.name]]
    reasons = [reason for reason in REASONS if reason.state is state]
    if reasons:
        rows = [(code(each.code), sentence(each.meaning), each.remedy) for each in reasons]
        parts.append(table(("reason", "meaning", "what to do"), rows))
    if state is State.FAILED:
        parts.append(_KEYS)
    return "\n\n".join(parts)
