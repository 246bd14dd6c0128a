"""Run the tasks of a stage: each can run anywhere, may run twice, and leaves what it makes in a storage.

An engine of a cluster takes the place of `LocalStages` by one method.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Final, Protocol, TypeVar

from voucherify_sync.run.processes import MAX_TRIES, Processes
from voucherify_sync.stop import Stop

_Result = TypeVar("_Result")

_AHEAD: Final = 2
"""Tasks handed in for each process."""


class Stages(Protocol):
    """Runs tasks, in whatever order and wherever; what one of them loses, it runs again.

    Attributes:
        tried_again: tasks that ran more than once, since what ran them was lost.
        is_elsewhere: other machines run them, which may have another version, or not reach the storage.
    """

    tried_again: int
    is_elsewhere: bool

    def run(
        self,
        task: Callable[..., _Result],
        arguments: Sequence[tuple[Any, ...]],
        on_done: Callable[[_Result | None], None],
    ) -> list[_Result | None]:
        """Return what a task returns for each of its arguments, in their order; `on_done` takes each once it is known.

        None stands for one that killed each of the processes that it was given to. An exception of a task is raised
        here. Once the run stops, the list ends early.
        """
        ...


class LocalStages:
    """Runs tasks in processes of this machine, or in this process if it is only one.

    Args:
        jobs: number of processes.
        stop: looked at while tasks run; those that are not done are lost then.

    Attributes:
        tried_again, is_elsewhere: as in Stages.
    """

    is_elsewhere = False

    def __init__(self, jobs: int, stop: Stop) -> None:
        self.tried_again = 0
        self._jobs = jobs
        self._stop = stop

    def run(
        self,
        task: Callable[..., _Result],
        arguments: Sequence[tuple[Any, ...]],
        on_done: Callable[[_Result | None], None],
    ) -> list[_Result | None]:
        """Return the results in the order of the arguments."""
        jobs = min(self._jobs, len(arguments))
        processes = Processes(jobs, [task.__module__])
        processes.can_be_had = jobs > 1
        results: list[_Result | None] = []
        under_way: deque[Future[_Result] | None] = deque()
        try:
            for number, each in enumerate(arguments):
                while len(under_way) < jobs * _AHEAD and number + len(under_way) < len(arguments):
                    following = arguments[number + len(under_way)]
                    under_way.append(processes.submit(task, *following))
                future = under_way.popleft()
                try:
                    found = self._result(processes, future, task, each)
                except BrokenProcessPool:
                    self.tried_again += 1
                    found = self._alone(processes, task, each)
                    under_way.clear()  # they were lost with it
                if self._stop.requested:
                    break
                results.append(found)
                on_done(found)
        finally:
            processes.close()
        return results

    def _result(
        self,
        processes: Processes,
        future: Future[_Result] | None,
        task: Callable[..., _Result],
        arguments: tuple[Any, ...],
    ) -> _Result | None:
        if future is None:
            return task(*arguments, stop=self._stop)
        return processes.wait_for(future, self._stop)

    def _alone(
        self, processes: Processes, task: Callable[..., _Result], arguments: tuple[Any, ...]
    ) -> _Result | None:
        """Run a task with no other one beside it: it may be the one that kills processes."""
        for _ in range(MAX_TRIES - 1):
            processes.close()
            try:
                return self._result(processes, processes.submit(task, *arguments), task, arguments)
            except BrokenProcessPool:
                continue
        processes.close()
        return None
