"""Looks at blocks, here or on several processes: blocks in, what comes of them out, in the order of the blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import msgspec

from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Block
from voucherify_sync.running.gathered import Gathered, Gatherer
from voucherify_sync.running.planned import Counted, Planned
from voucherify_sync.running.planner import BlockPlanner
from voucherify_sync.running.tasks import blocks_of, is_worth_it, tasks
from voucherify_sync.settings import Settings

if TYPE_CHECKING:
    from voucherify_sync.running.crew import Work

PlanBlocks = Callable[[Iterable[Block]], Iterator[Planned | Counted]]
"""Plans the requests of blocks, and tells what was counted now and then."""

_encode = msgspec.msgpack.Encoder().encode
_decode_planned = msgspec.msgpack.Decoder(tuple[list[Planned], Counted]).decode
_decode_gathered = msgspec.msgpack.Decoder(list[Gathered]).decode


class Jobs:
    """Whoever looks at the blocks of a run: this process, or others.

    Args:
        number: of processes.
        settings: of the run.
        selection: the filters of the command line.
        bytes_total: of its input; None where nobody knows, as with a pipe, which has to flow block by block.
        tells_about: somebody wants to know what the requests of a plan are about.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        selection: Selection,
        bytes_total: int | None,
        *,
        tells_about: bool = False,
    ) -> None:
        self._number = number if is_worth_it(bytes_total) else 1
        self._arguments = (settings, selection)
        self._tells_about = tells_about

    def plan(self, blocks: Iterable[Block]) -> Iterator[Planned | Counted]:
        """Plan the requests of a dry run, and tell what was counted now and then."""
        if self._number == 1:
            planner = BlockPlanner(*self._arguments, tells_about=self._tells_about)
            yield from map(planner.plan, blocks)
            yield planner.cut()
            return
        for answer in self._answers(_planning, blocks, self._tells_about):
            planned, counted = _decode_planned(answer)
            yield from planned
            yield counted

    def gather(self, blocks: Iterable[Block]) -> Iterator[Gathered]:
        """Gather the updates of customers."""
        if self._number == 1:
            return map(Gatherer(*self._arguments).gather, blocks)
        return chain.from_iterable(map(_decode_gathered, self._answers(_gathering, blocks)))

    def _answers(self, prepare: Callable[..., Work], blocks: Iterable[Block], *more: bool) -> Iterator[bytes]:
        from voucherify_sync.running.crew import Crew  # of no use to most runs, and slow to import

        return Crew(prepare, (*self._arguments, *more), self._number).answers(tasks(blocks))


def _planning(settings: Settings, selection: Selection, tells_about: bool) -> Work:
    planner = BlockPlanner(settings, selection, tells_about=tells_about)
    return lambda parts: _encode((list(map(planner.plan, blocks_of(parts))), planner.cut()))


def _gathering(settings: Settings, selection: Selection) -> Work:
    gatherer = Gatherer(settings, selection)
    return lambda parts: _encode(list(map(gatherer.gather, blocks_of(parts))))
