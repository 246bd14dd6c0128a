"""Share the work on an input between processes, and yield the results in the order of the input.

Small files are read by the processes themselves; of large ones they get the lines. What comes out is the same for any
number of processes, even if some of them are killed: nothing is shared, and a task that is lost is done again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Final

from msgspec import Struct

from voucherify_sync.events import Batch
from voucherify_sync.run.options import Input
from voucherify_sync.run.processes import KILLED, MAX_TRIES, Processes
from voucherify_sync.sources.discover import Source
from voucherify_sync.sources.reader import Reader, SourceFacts
from voucherify_sync.stop import Stop

Work = Callable[[Iterable[Batch], Stop], Iterator[bytes]]
"""Makes results of batches, in pieces of bounded size, until the run stops: what is made before is yielded."""

TASK_BYTES: Final = 512 << 10
"""Bytes of lines, or of files, in a task, about."""
MAX_FILE_BYTES: Final = 1 << 20
"""Bytes on disk of a file that a process reads itself: what is made of it has to find room in memory."""
MAX_TEXT_BYTES: Final = 16 << 20
"""Bytes of lines of one task: the rest of a file that is so well compressed is read here."""
MAX_BLOCK_BYTES: Final = 1 << 20
"""Bytes of a batch that is handed over; the records of a longer one may need too much memory at once."""
MAX_SOURCES: Final = 256
TASKS_PER_PROCESS: Final = 3
"""Tasks under way for each process: one is worked on, the others wait, so that none is idle."""


class Task(Struct, frozen=True):
    """Work for one process: files that it reads itself, or batches."""

    sources: list[Source] = []
    batches: list[Batch] = []


class Answer(Struct, frozen=True):
    """What came of a task.

    Attributes:
        results: what was made of it; in a process a list, here as it is asked for.
        facts: of the files that were begun, in order.
        left: sources of which not all was read; all those that were not begun are among them.
        done: number of batches that were read of the first of them.
    """

    results: Iterable[bytes]
    facts: list[SourceFacts] = []
    left: list[Source] = []
    done: int = 0


def results(
    source: Input, jobs: int, stop: Stop, prepare: Callable[..., Work], *arguments: Any
) -> Iterator[bytes]:
    """Yield what processes make of an input, in its order, until the run stops.

    Args:
        source: of the batches.
        jobs: number of processes.
        stop: looked at between results.
        prepare: makes what does the work; a function of a module, called once in each process.
        arguments: its arguments.
    """
    open_facts: deque[SourceFacts] = deque()

    def tasks() -> Iterator[Task]:
        for task, facts in _tasks(source):
            open_facts.extend(facts)
            yield task

    pool = _Pool(jobs, stop, prepare, arguments)
    try:
        for answer in pool.answers(tasks()):
            if stop.requested:
                return
            file_count = len(answer.facts) + max(len(answer.left) - 1, 0)
            facts = [open_facts.popleft() for _ in range(file_count)]
            _copy_facts(answer.facts, facts)
            yield from answer.results
            if answer.left:
                yield from _read_here(answer, facts, stop, pool)
    finally:
        pool.close()


def _read_here(answer: Answer, facts: list[SourceFacts], stop: Stop, pool: _Pool) -> Iterator[bytes]:
    """Read what a process has left of its sources: more text than one process should hold."""
    reader = Reader(answer.left, stop)
    for batch in islice(reader, answer.done, None):  # a file is cut into batches alike each time
        yield from pool.work_here([batch])
    _copy_facts(reader.facts, facts[-len(answer.left) :])


def _copy_facts(found: list[SourceFacts], facts: list[SourceFacts]) -> None:
    for one, other in zip(found, facts, strict=False):
        for name in SourceFacts.__struct_fields__:
            setattr(other, name, getattr(one, name))


def _tasks(source: Input) -> Iterator[tuple[Task, list[SourceFacts]]]:
    """Share an input out, in its order; yield tasks, each with the facts of its files, which are open."""
    sources: list[Source] = []
    facts: list[SourceFacts] = []
    batches: list[Batch] = []
    size = 0
    for part in source.parts(MAX_FILE_BYTES):
        if (
            (sources if isinstance(part, Batch) else batches)
            or size >= TASK_BYTES
            or len(sources) == MAX_SOURCES
        ):
            yield Task(sources, batches), facts
            sources, facts, batches, size = [], [], [], 0
        if isinstance(part, Batch):
            batches.append(part)
            size += len(part.text)
        else:
            sources.append(part)
            facts.append(source.facts[-1])
            size += part.size or 0
    if sources or batches:
        yield Task(sources, batches), facts


class _Pool:
    """Processes that answer tasks, in their order; where none can be had, or is worth it, the answer is made here."""

    def __init__(
        self, size: int, stop: Stop, prepare: Callable[..., Work], arguments: tuple[Any, ...]
    ) -> None:
        self._size = size
        self._stop = stop
        self._prepare = prepare
        self._arguments = arguments
        self._work: Work | None = None
        self._processes = Processes(size, [prepare.__module__, __name__], _start, (prepare, arguments))

    def answers(self, tasks: Iterable[Task]) -> Iterator[Answer]:
        """Yield the answer to each task, until the run stops; TASKS_PER_PROCESS tasks a process are taken ahead."""
        under_way: deque[tuple[Task, Future[Answer] | None]] = deque()
        for task in tasks:
            if len(under_way) == self._size * TASKS_PER_PROCESS:
                yield from self._finish_first(under_way)
            if self._stop.requested:
                return
            under_way.append((task, self._submit(task)))
        while under_way and not self._stop.requested:
            yield from self._finish_first(under_way)

    def work_here(self, batches: Iterable[Batch]) -> Iterator[bytes]:
        """Do the work in this process."""
        self._work = self._work or self._prepare(*self._arguments)
        return self._work(batches, self._stop)

    def close(self) -> None:
        """End the processes at once."""
        self._processes.close()

    def _finish_first(self, under_way: deque[tuple[Task, Future[Answer] | None]]) -> Iterator[Answer]:
        """Wait for the answer to the first task, or the answers to its files.

        If a process was killed, it is not known by which task: the first one is tried alone, and then all others are
        submitted again.
        """
        task, future = under_way.popleft()
        try:
            yield from self._wait_for(task, future)
        except BrokenProcessPool:
            yield from self._try_alone(task)
            open_tasks = [each for each, _ in under_way]
            under_way.clear()
            under_way.extend((each, self._submit(each)) for each in open_tasks)

    def _try_alone(self, task: Task) -> Iterator[Answer]:
        """Submit a task with no other one in flight, until it has killed MAX_TRIES processes."""
        for _ in range(MAX_TRIES):
            self._processes.close()
            future = self._submit(task)
            try:
                yield from self._wait_for(task, future)
            except BrokenProcessPool:
                continue
            return
        self._processes.close()
        if task.batches:
            yield self._answer_here(task)
        elif len(task.sources) > 1:
            for source in task.sources:
                yield from self._try_alone(Task([source]))
        else:
            yield Answer([], [SourceFacts(task.sources[0].name, damaged=KILLED)])

    def _wait_for(self, task: Task, future: Future[Answer] | None) -> Iterator[Answer]:
        """Yield the answer to a task, or none once the run stops.

        Raises:
            BrokenProcessPool: a process was killed, whether the executor has noticed it or not.
        """
        if future is None:
            yield self._answer_here(task)
        elif (answer := self._processes.wait_for(future, self._stop)) is not None:
            yield answer

    def _answer_here(self, task: Task) -> Answer:
        """Answer a task in this process; files are read as batches would be."""
        if task.batches:
            return Answer(self.work_here(task.batches))
        return Answer([], [SourceFacts(task.sources[0].name)], task.sources)

    def _submit(self, task: Task) -> Future[Answer] | None:
        """Submit a task to a process; None if this process has to do it."""
        is_long = any(len(batch.text) > MAX_BLOCK_BYTES for batch in task.batches)
        return None if is_long else self._processes.submit(_work_on, task)


_work: Work | None = None
"""What a process does; only processes that work have it."""


def _start(prepare: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    """Prepare a process."""
    global _work  # noqa: PLW0603  # an executor hands nothing else to its tasks
    _work = prepare(*arguments)


def _work_on(task: Task) -> Answer:
    work = _work
    assert work is not None  # noqa: S101  # the executor has called _start
    stop = Stop()  # this process is killed when the run stops
    if task.batches:
        return Answer(list(work(task.batches, stop)))
    reader = Reader(task.sources, stop)
    left: list[Source] = []
    done = 0

    def batches() -> Iterator[Batch]:
        nonlocal done
        size, begun = 0, 0
        for batch in reader:
            done = done + 1 if len(reader.facts) == begun else 1
            begun = len(reader.facts)
            yield batch
            size += len(batch.text)
            if size > MAX_TEXT_BYTES:
                left.extend(task.sources[begun - 1 :])
                return

    return Answer(list(work(batches(), stop)), reader.facts, left, done)
