"""Run functions in processes of their own, which end with this one, whatever ends it.

Any of them may be killed: what it was working on is lost, and nothing else is. The caller hands it in again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, forkserver, get_context, parent_process, resource_tracker
from typing import Any, Final, NoReturn, TypeVar

from voucherify_sync.stop import Stop

MAX_TRIES: Final = 4
"""Number of processes that a task may kill alone before it counts as lost."""
KILLED: Final = "the process that reads it was killed each time, as for want of memory"
"""What is said of a source that is lost by that."""

_POLL_S: Final = 0.25
"""Seconds between two looks at whether the run stops, or a process was killed."""
_TERMINAL_SIGNALS: Final = (signal.SIGINT, signal.SIGHUP)
"""Signals that a terminal sends to all processes, and that only the first one is to hear."""

_Result = TypeVar("_Result")


class Processes:
    """A number of processes, started when they are needed first.

    Args:
        size: number of processes.
        preload: modules that they need.
        begin: called once in each process.
        arguments: of `begin`.

    Attributes:
        can_be_had: false once there is no room for a process; false from the start where none is wanted.
    """

    def __init__(
        self,
        size: int,
        preload: Sequence[str],
        begin: Callable[..., object] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        self._size = size
        self._preload = [__name__, *preload]
        self._begin = begin
        self._arguments = arguments
        self._executor: ProcessPoolExecutor | None = None
        self.can_be_had = True

    def submit(self, function: Callable[..., _Result], *arguments: Any) -> Future[_Result] | None:
        """Have a function called in one of them; None if no process can be had: then the caller has to do it."""
        if not self.can_be_had:
            return None
        try:
            self._executor = self._executor or self._new_executor()
            with _without_main():
                return self._executor.submit(function, *arguments)
        except BrokenProcessPool as error:
            broken: Future[_Result] = Future()
            broken.set_exception(error)
            return broken
        except (OSError, EOFError):  # there is no room for another process
            self.can_be_had = False
            return None

    def wait_for(self, future: Future[_Result], stop: Stop) -> _Result | None:
        """Return what a function returned; None once the run stops.

        Raises:
            BrokenProcessPool: a process was killed, whether the executor has noticed it or not.
        """
        has_died = False
        while not stop.requested:
            try:
                return future.result(_POLL_S)
            except TimeoutError:
                if has_died and not future.done():
                    raise BrokenProcessPool("a process was killed, and left half of an answer.") from None
                processes = (self._executor and self._executor._processes) or {}  # noqa: SLF001
                has_died = any(not process.is_alive() for process in list(processes.values()))
        return None

    def close(self) -> None:
        """End the processes at once, and wait for none; what they are working on is of no use any more.

        A process that is killed while it hands an answer over leaves half of it. The thread of the executor then waits
        for the rest as long as the pipe is open for writing, so it is closed here.
        """
        executor, self._executor = self._executor, None
        if executor is None:
            return
        processes = list((executor._processes or {}).values())  # noqa: SLF001
        thread: Any = executor._executor_manager_thread  # noqa: SLF001
        answers: Any = executor._result_queue  # noqa: SLF001
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        answers._writer.close()  # noqa: SLF001  # its reader is in use
        if thread is not None:
            thread.join()

    def _new_executor(self) -> ProcessPoolExecutor:
        context = get_context("forkserver")
        context.set_forkserver_preload(self._preload)
        # What starts while they are blocked never hears them.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
        try:
            resource_tracker.ensure_running()  # it lets signals through again
            signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINAL_SIGNALS)
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return ProcessPoolExecutor(self._size, context, _start, (self._begin, self._arguments))


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep a process that is started meanwhile from importing the program that called this library.

    multiprocessing imports the main module again in each process. A script without ``if __name__ == "__main__"`` would
    run once more there.
    """
    main = vars(sys.modules["__main__"])
    hidden = {name: main.pop(name) for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        del main["__spec__"]
        for name, value in hidden.items():
            main[name] = value


def _start(begin: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    """Prepare a process; it ends with the first one, whatever ends that."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_exit_with, args=(parent.sentinel,), daemon=True).start()
    if begin is not None:
        begin(*arguments)


def _exit_with(sentinel: int) -> NoReturn:
    connection.wait([sentinel])
    os._exit(1)
