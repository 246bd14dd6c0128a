"""Dead letters as an input: the events of a file of dead letters, as Blocks, to be replayed again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from voucherify_sync.bookkeeping.deadletters import read_dead_letters
from voucherify_sync.model import Block
from voucherify_sync.reading.source import SourceFacts
from voucherify_sync.stop import Stop

_BLOCK = 256


class LetterInput:
    """The events of one file of dead letters; a position is the line of the dead letter.

    Attributes:
        facts: one entry, about the file.
    """

    def __init__(self, path: Path, stop: Stop) -> None:
        self._path = path
        self._stop = stop
        self.facts = [SourceFacts(str(path))]

    @property
    def bytes_total(self) -> int | None:
        """Bytes on disk, None where nobody knows."""
        return self._path.stat().st_size if self._path.is_file() else None

    def __iter__(self) -> Iterator[Block]:
        """Yield the events.

        Raises:
            SourceError: it cannot be read, or is no file of dead letters.
        """
        facts = self.facts[0]
        lines: list[bytes] = []
        for letter in read_dead_letters(self._path):
            if self._stop.requested:
                return
            lines.append(letter.event)
            facts.bytes += len(letter.event)
            if len(lines) == _BLOCK:
                yield Block.of(facts.name, facts.lines + 1, lines)
                facts.lines += len(lines)
                lines = []
        if lines:
            yield Block.of(facts.name, facts.lines + 1, lines)
            facts.lines += len(lines)
