"""Run the tasks of a stage on a cluster of Ray. Another engine needs a class with the same one method."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from voucherify_sync.errors import UsageProblem, VoucherifySyncError
from voucherify_sync.run.processes import MAX_TRIES
from voucherify_sync.stop import Stop

_Result = TypeVar("_Result")

_POLL_S: Final = 0.25
_START: Final = "Start one by `ray start --head`, or name its address: --cluster HOST:6379."


class RayStages:
    """Runs each task on a core of some machine of a cluster; what a machine loses runs again on another one.

    Args:
        address: of the cluster: ``auto`` for the one of this machine, or host and port.
        stop: looked at while tasks run.

    Raises:
        UsageProblem: Ray is not installed, or there is no such cluster.

    Attributes:
        tried_again: always 0: Ray does not tell.
        is_elsewhere: as in Stages.
    """

    is_elsewhere = True

    def __init__(self, address: str, stop: Stop) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
        try:
            import ray
        except ImportError:
            raise UsageProblem(
                "--cluster needs the extra `cluster`.", "Install it: pip install 'voucherify-sync[cluster]'"
            ) from None
        self.tried_again = 0
        self._ray: Any = ray
        self._stop = stop
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UsageProblem(f"no cluster at {address}: {str(error).splitlines()[0]}", _START) from None

    def run(
        self,
        task: Callable[..., _Result],
        arguments: Sequence[tuple[Any, ...]],
        on_done: Callable[[_Result | None], None],
    ) -> list[_Result | None]:
        """Return the results in the order of the arguments; None stands for a task that was lost each time."""
        ray = self._ray
        remote = ray.remote(max_retries=MAX_TRIES - 1, num_cpus=1)(task)
        sent = self._sent_once(arguments)
        numbers = {remote.remote(*each): number for number, each in enumerate(sent)}
        results: list[_Result | None] = [None] * len(arguments)
        try:
            while numbers and not self._stop.requested:
                done, _ = ray.wait(list(numbers), num_returns=1, timeout=_POLL_S)
                for each in done:
                    result = results[numbers.pop(each)] = self._result(each)
                    on_done(result)
        finally:  # also where a task has raised an error
            for each in numbers:
                ray.cancel(each, force=True)
        return [] if numbers else results

    def _sent_once(self, arguments: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Put what all tasks are given into the cluster's own store, so that it is sent to each machine once."""
        put = {
            place: self._ray.put(value)
            for place, value in enumerate(arguments[0] if arguments else ())
            if len(arguments) > 1 and all(each[place] is value for each in arguments) and not callable(value)
        }
        return [tuple(put.get(place, value) for place, value in enumerate(each)) for each in arguments]

    def _result(self, reference: Any) -> Any:
        """Return what a task returned; None if its process was lost each time. Its own error is raised here."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except (errors.WorkerCrashedError, errors.OutOfMemoryError, errors.NodeDiedError):
            return None
        except errors.RayTaskError as error:
            if isinstance(error.cause, VoucherifySyncError):
                raise error.cause from None
            raise
