"""Several processes that do one kind of work: messages in, answers out, in the same order.

The processes change nothing but the time that it takes: what one of them does not answer, as it could not be started
or was killed for want of memory, is answered here.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.reduction import DupFd
from typing import Any, Final, NamedTuple

Message = Sequence[bytes]
"""The parts of a message."""

Work = Callable[[Iterator[bytes]], bytes]
"""Makes the answer to a message, whose parts it takes one by one."""

AHEAD: Final = 8
"""Messages under way for each process: one is worked on, the others wait, so that none is idle."""

ROOM: Final = 4 << 20
"""Bytes of an answer for which there is room between the processes; a longer one is made here."""

MAX_MESSAGE: Final = 2 << 20
"""Bytes of a message that is handed over; a longer one is answered here, and waits for nothing, to save memory."""

_FOR_ALL: Final = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to all processes, and that only the first one is to hear."""

_ENDED: Final = (EOFError, OSError)
"""What is raised where the process at the other end of a connection is no more, or never was."""


class Crew:
    """The processes. They are forked from one that has imported what they need, which stays until this one ends.

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
                file = stack.enter_context(tempfile.TemporaryFile(prefix="voucherify-sync-"))
            except OSError:
                yield from map(self._answer_here, messages)
                return
            desk = _Desk(file.fileno())
            yield from self._answers(messages, desk, list(self._start(desk, stack)))

    def _start(self, desk: _Desk, stack: ExitStack) -> Iterator[_Worker]:
        """Start as many processes as can be; the stack ends them."""
        context = get_context("forkserver")
        context.set_forkserver_preload(["__main__", self._prepare.__module__])
        for _ in range(self._size):
            try:
                worker = _Worker(context, (desk, self._prepare, self._arguments))
            except _ENDED:  # there is no room for another one
                return
            stack.callback(worker.dismiss)
            yield worker

    def _answers(
        self, messages: Iterable[Message], desk: _Desk, workers: Sequence[_Worker]
    ) -> Iterator[bytes]:
        under_way: deque[_Task] = deque()
        places = self._size * AHEAD
        for number, message in enumerate(messages):
            if len(under_way) == places:
                yield self._answer(under_way.popleft(), desk)
            if sum(map(len, message)) > MAX_MESSAGE:
                while under_way:
                    yield self._answer(under_way.popleft(), desk)
                yield self._answer_here(message)
                continue
            place, worker = number % places, workers[number % len(workers)] if workers else None
            asked = worker is not None and worker.ask(place, desk.put(place, message))
            under_way.append(_Task(message, place, worker if asked else None))
        while under_way:
            yield self._answer(under_way.popleft(), desk)

    def _answer(self, task: _Task, desk: _Desk) -> bytes:
        """Wait for an answer, or make it."""
        length = task.worker.answer() if task.worker is not None else None
        return self._answer_here(task.message) if length is None else next(desk.take(task.place, [length]))

    def _answer_here(self, message: Message) -> bytes:
        self._work_here = self._work_here or self._prepare(*self._arguments)
        return self._work_here(iter(message))


class _Worker:
    """A process, as the first one sees it; it answers in the order in which it is asked.

    Raises:
        EOFError, OSError: it cannot be started.
    """

    def __init__(self, context: ForkServerContext, arguments: tuple[Any, ...]) -> None:
        self._connection, theirs = context.Pipe()
        with theirs:
            self._process = context.Process(target=_serve, args=(theirs, *arguments), daemon=True)
            with _unheard():
                resource_tracker.ensure_running()  # it lets signals through again
            with _unheard():
                self._process.start()
        self._has_ended = False

    def ask(self, place: int, lengths: list[int] | None) -> bool:
        """Tell where a message lies; return whether there will be an answer, as far as is known."""
        if lengths is None or self._has_ended:
            return False
        try:
            self._connection.send((place, lengths))
        except _ENDED:
            self._has_ended = True
        return not self._has_ended

    def answer(self) -> int | None:
        """Return the length of the next answer; None if it has ended without."""
        try:
            length: int = self._connection.recv()
        except _ENDED:
            self._has_ended = True
            return None
        return length

    def dismiss(self) -> None:
        """End it; what it is working on is of no use any more."""
        self._connection.close()
        self._process.terminate()
        self._process.join()


class _Task(NamedTuple):
    """A message under way, and whoever was asked; None: it is to be answered here."""

    message: Message
    place: int
    worker: _Worker | None


class _Desk:
    """A file without a name, by which processes hand over what is too large for a pipe.

    Each message has a place there, where its answer is put, too.
    """

    def __init__(self, file: int) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[[Any], _Desk], tuple[Any]]:
        """Go to another process, which gets the file as well."""
        return _taken_over, (DupFd(self._file),)

    def put(self, place: int, parts: Message) -> list[int] | None:
        """Put parts at a place and return their lengths; None if they find no room."""
        lengths = list(map(len, parts))
        if sum(lengths) > ROOM:
            return None
        at = place * ROOM
        try:
            for part in parts:
                if os.pwrite(self._file, part, at) != len(part):
                    return None
                at += len(part)
        except OSError:
            return None
        return lengths

    def take(self, place: int, lengths: list[int]) -> Iterator[bytes]:
        """Yield the parts that were put at a place."""
        at = place * ROOM
        for length in lengths:
            yield os.pread(self._file, length, at)
            at += length


def _taken_over(file: Any) -> _Desk:
    return _Desk(file.detach())


def _serve(
    connection: Connection, desk: _Desk, prepare: Callable[..., Work], arguments: tuple[Any, ...]
) -> None:
    """Work until the first process wants no more, or is no more, or an answer finds no room."""
    work = prepare(*arguments)
    try:
        while True:
            place, lengths = connection.recv()
            answer = desk.put(place, [work(desk.take(place, lengths))])
            if answer is None:
                return
            connection.send(answer[0])
    except _ENDED:
        return


@contextmanager
def _unheard() -> Iterator[None]:
    """Hold signals back; a process that is started meanwhile never hears them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_ALL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
