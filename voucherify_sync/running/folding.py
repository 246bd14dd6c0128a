"""The end of the pipeline that folds customers: what was decided of records in, their customer updates into a Fold."""

from __future__ import annotations

from collections.abc import Iterable

from voucherify_sync.bookkeeping.history import REPEATED
from voucherify_sync.mapping.fold import Fold, News
from voucherify_sync.mapping.folded import microseconds
from voucherify_sync.model import FAILED_BEFORE, Decision, Kind, Operation
from voucherify_sync.reading.times import event_time

_GIVEN_UP = frozenset({FAILED_BEFORE, "dismissed"})
"""An update that is not tried again must not come with a later one of its customer."""


def fold_updates(fold: Fold, mapped: Iterable[Decision], decided: Iterable[Decision]) -> None:
    """Add the customer updates of records that a bulk request can carry.

    Args:
        fold: takes them.
        mapped: the records as the pipeline decided them.
        decided: the same, one for one, after de-duplication: what was sent before takes part in the fold, too.
    """
    for operation, decision in zip(mapped, decided, strict=True):
        if not isinstance(operation, Operation) or operation.is_by_id or not operation.has_profile:
            continue
        if isinstance(decision, Operation):
            news = News.UPDATE if operation.kind is Kind.CUSTOMER else News.EVENT
        elif decision.reason in _GIVEN_UP:
            continue
        else:
            news = News.EVENT if decision.reason in REPEATED else News.NONE
        event = operation.event
        fold.add(
            operation.source_id,
            operation.customer or operation.payload,
            microseconds(event_time(event.fields)),
            event.message_id or "",
            news,
        )
