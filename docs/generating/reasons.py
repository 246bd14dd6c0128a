"""Make the page of reasons, with meaning and remedy, from the library's table of them."""

from __future__ import annotations

from typing import Final

from generating.markdown import code, member_docs, sentence, table
from generating.markdown import page as page_of
from voucherify_sync.findings import FINDINGS, FindingWords
from voucherify_sync.outcomes import REASONS, WHY_NOT_MAPPED, State

_INTRODUCTION: Final = """\
Every [record](../glossary.md#record) that is read ends in exactly one [state](../glossary.md#state):

`read = delivered + planned + skipped + duplicate + invalid + failed + in_doubt + pending`

Most states come with a reason. The summary, the [report](report.md), the log, the
[dead letters](../glossary.md#dead-letter) and `status` show it."""

_KEYS: Final = """\
Any other reason of `failed` is the `key` of Voucherify's own error, such as `invalid_payload`,
`metadata_validation_failed` or `not_found`. The dead letter holds the whole answer. Fix the mapping or the metadata
schema of the project, then run `voucherify-sync retry`."""

_LOST: Final = """\
A record can be sent without some of its values. `explain` and `coverage` show these values. `dropped` in the report
counts some of them."""

_FINDINGS: Final = """\
Records that are sent may still not be as their owner means them. What a person should know of them is counted, with its
first three places. A finding changes no request. `plan`, the question before a live run and the summary say it in a
sentence, and `findings` in the report has the numbers.

In the same places, and in `coverage`, a warning names what a filter or an option does not meet: an event name, an id, a
period; and the names that are almost a listed one. `notices` in the report has these sentences."""


def page() -> str:
    """Return the page."""
    return page_of(
        "Reasons",
        "voucherify_sync/outcomes.py",
        _INTRODUCTION,
        *map(_state, State),
        f"## Values that are not mapped\n\n{_LOST}",
        table(("code", "meaning"), [(code(key), sentence(words)) for key, words in WHY_NOT_MAPPED.items()]),
        f"## Findings\n\n{_FINDINGS}",
        table(
            ("code", "what was found", "what to do"),
            [(code(key), f"N {each.many}.", _remedy(each)) for key, each in FINDINGS.items()],
        ),
    )


def _remedy(words: FindingWords) -> str:
    """Return what to do, with what is to be pasted as code."""
    sentences, _, pasted = words.remedy.partition("\n")
    return f"{sentences} {code(pasted.strip().replace('{}', 'ID…'))}" if pasted else sentences


def _state(state: State) -> str:
    parts = [f"## {state}", member_docs(State)[state.name]]
    reasons = [reason for reason in REASONS if reason.state is state]
    if reasons:
        rows = [(code(each.code), sentence(each.meaning), each.remedy) for each in reasons]
        parts.append(table(("reason", "meaning", "what to do"), rows))
    if state is State.FAILED:
        parts.append(_KEYS)
    return "\n\n".join(parts)
