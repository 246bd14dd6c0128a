"""What the mapping and the filters noticed in a run, as sentences that say what to do."""

from __future__ import annotations

from collections.abc import Iterator

from voucherify_sync.run.run import Run
from voucherify_sync.text import clean, counted


def notices_of(run: Run) -> Iterator[str]:
    """Yield what a person should know before sending, or after: customers renamed, filters that met nothing."""
    stats = run.pipeline.mapper.stats
    if stats.renamed_count:
        examples = ", ".join(
            f'"{clean(name, 40)}" ({clean(where, 200)})' for where, name in stats.renamed_examples
        )
        yield (
            f"{stats.renamed_count:,} track events would set customer.name from properties.name: {examples}. "
            "If those are products, give track.mapping rows of your own without properties.name."
        )
    if run.books.older.count:
        at_least = "at least " if run.books.older.capped else ""
        yield (
            f"{at_least}{counted(run.books.older.count, 'customer update is', 'customer updates are')} older than one "
            "read before for the same customer: sent one by one, the older values win. "
            "With --bulk each customer gets the newest value of every field."
        )
    if run.books.letters_error is not None:
        missing = counted(run.books.letters_missing, "dead letter is", "dead letters are")
        yield (
            f"{run.books.letters_error.message}: {missing} not in it. "
            "The ledger knows the records: voucherify-sync retry"
        )
    for miss in run.near_misses():
        meant = " or ".join(f'"{clean(name, 60)}"' for name in miss.suggestions)
        hint = f"; did you mean {meant}?" if meant else ""
        yield f'no event is named "{clean(miss.expected, 60)}"{hint}'
