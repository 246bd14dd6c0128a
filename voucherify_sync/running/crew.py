"""Several processes that do one kind of work: messages in, answers out, in the same order.

The processes change nothing but the time that it takes: where they cannot work, the work is done here.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any, Final, NamedTuple

Message = Sequence[bytes]
"""The parts of a message."""

Work = Callable[[Iterator[bytes]], bytes]
"""Makes the answer to a message, whose parts it takes one by one."""

AHEAD: Final = 3
"""Messages under way for each process: one is worked on, the others wait, so that none is idle."""

ROOM: Final = 4 << 20
"""Bytes of the file for one message and its answer."""

_ON_THE_PARENT: Final = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to all processes, and that only the first one is to hear."""


class Crew:
    """The processes.

    Args:
        prepare: makes what does the work; a function of a module, called once in each process.
        arguments: its arguments.
        size: number of processes.
    """

    def __init__(self, prepare: Callable[..., Work], arguments: tuple[Any, ...], size: int) -> None:
        self._prepare = prepare
        self._arguments = arguments
        self._size = size
        self._work_here: Work | None = None

    def answers(self, messages: Iterable[Message]) -> Iterator[bytes]:
        """Yield the answer to each message; at most AHEAD messages a process are taken ahead of that."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="voucherify-sync-"))
                pool = self._pool(file.name)
            except (OSError, ImportError, NotImplementedError):  # a system without room or without semaphores
                yield from map(self._answer_here, messages)
                return
            stack.callback(pool.shutdown, cancel_futures=True)
            yield from self._answers(messages, pool, _Desk(file.fileno()))

    def _pool(self, file: str) -> ProcessPoolExecutor:
        """Return processes that are forked from one which has imported what they need, and has no threads."""
        context = get_context("forkserver")
        context.set_forkserver_preload(["__main__", self._prepare.__module__])
        arguments = (self._prepare, self._arguments, file)
        return ProcessPoolExecutor(self._size, context, _start, arguments)

    def _answers(
        self, messages: Iterable[Message], pool: ProcessPoolExecutor, desk: _Desk
    ) -> Iterator[bytes]:
        under_way: deque[_Task] = deque()
        places = self._size * AHEAD
        for number, message in enumerate(messages):
            if len(under_way) == places:
                yield self._answer(under_way.popleft(), desk)
            place = number % places
            under_way.append(_Task(message, place, _submit(pool, place, desk.put(place, message))))
        while under_way:
            yield self._answer(under_way.popleft(), desk)

    def _answer(self, task: _Task, desk: _Desk) -> bytes:
        """Wait for an answer; when a process has died, which the system does for want of memory, make it here."""
        try:
            if task.future is not None:
                return next(desk.take(task.place, task.future.result()))
        except BrokenProcessPool:
            pass
        return self._answer_here(task.message)

    def _answer_here(self, message: Message) -> bytes:
        self._work_here = self._work_here or self._prepare(*self._arguments)
        return self._work_here(iter(message))


_Placed = Sequence[int] | Message
"""The lengths of the parts that lie in their place, or the parts themselves."""


class _Task(NamedTuple):
    message: Message
    place: int
    future: Future[_Placed] | None


class _Desk:
    """A file by which processes hand over messages: each one has a place there, where its answer is put, too."""

    def __init__(self, file: int) -> None:
        self._file = file

    def put(self, place: int, parts: Message) -> _Placed:
        """Put parts at a place; those that find no room are returned as they are."""
        lengths = list(map(len, parts))
        if sum(lengths) > ROOM:
            return parts
        at = place * ROOM
        try:
            for part in parts:
                if os.pwrite(self._file, part, at) != len(part):
                    return parts
                at += len(part)
        except OSError:
            return parts
        return lengths

    def take(self, place: int, placed: _Placed) -> Iterator[bytes]:
        """Yield the parts that were put at a place."""
        at = place * ROOM
        for part in placed:
            if isinstance(part, bytes):
                yield part
            else:
                yield os.pread(self._file, part, at)
                at += part


def _submit(pool: ProcessPoolExecutor, place: int, placed: _Placed) -> Future[_Placed] | None:
    """Hand a message over; None where that is not possible. Processes that start here inherit what is masked."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ON_THE_PARENT)
    try:
        return pool.submit(_work, place, placed)
    except (BrokenProcessPool, OSError):
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Worker(NamedTuple):
    work: Work
    desk: _Desk


_worker: _Worker  # of this process, where it is one of a crew


def _start(prepare: Callable[..., Work], arguments: tuple[Any, ...], file: str) -> None:
    global _worker  # noqa: PLW0603 an executor gives its tasks nothing else to keep things in
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(prepare(*arguments), _Desk(os.open(file, os.O_RDWR)))


def _end_with_parent() -> None:
    """End when the first process was killed: no one else tells."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(place: int, placed: _Placed) -> _Placed:
    work, desk = _worker
    return desk.put(place, [work(desk.take(place, placed))])
