"""Mapping tests in, their results out: each event takes the way of a replay, up to the request. Nothing is sent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from msgspec import Struct

from voucherify_sync.delivery.endpoints import PATHS
from voucherify_sync.mapping.filters import Selection
from voucherify_sync.model import Json, Operation
from voucherify_sync.previewing.mapping_tests.differences import NOTHING, Difference, differences
from voucherify_sync.previewing.mapping_tests.events import records_of
from voucherify_sync.reading.decode import Record
from voucherify_sync.running.pipeline import Pipeline
from voucherify_sync.settings import Expected, MappingTest, Settings


class Result(Struct, frozen=True):
    """What became of one test.

    Attributes:
        test: as it was written.
        request: what would be sent, `method`, `path` and `body`; None if nothing.
        reason: why nothing would be sent; None if something.
        differences: where it is not what was expected.
        seconds: how long it took.
    """

    test: MappingTest
    request: Json | None
    reason: str | None
    differences: list[Difference]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether all is as expected."""
        return not self.differences


def run_tests(settings: Settings, tests: Sequence[MappingTest]) -> list[Result]:
    """Run the tests, in their order.

    Raises:
        SettingsError: an event that a test names is not where it says.
    """
    records = records_of(tests)
    pipeline = Pipeline(settings, Selection())
    return [_result(test, record, pipeline) for test, record in zip(tests, records, strict=True)]


def _result(test: MappingTest, record: Record, pipeline: Pipeline) -> Result:
    begun = time.perf_counter()
    step = pipeline.decide(record)
    request, reason = None, None
    if isinstance(step, Operation):
        request = {"method": "POST", "path": PATHS[step.kind], "body": step.body}
    else:
        reason = step.reason
    found = list(_differences(test.expect, request, reason))
    return Result(test, request, reason, found, time.perf_counter() - begun)


def _differences(expect: Expected | str, request: Json | None, reason: str | None) -> Iterable[Difference]:
    wanted = None if isinstance(expect, str) else expect
    if wanted is not None and request is not None:
        return differences(wanted.request, request, partial=wanted.partial)
    if wanted is None and request is None:
        return differences(expect, reason, partial=False, path="skipped")
    expected = NOTHING if wanted is None else wanted.request
    skipped = Difference("skipped", NOTHING if wanted else expect, NOTHING if request else reason)
    return [Difference("request", expected, NOTHING if request is None else request), skipped]
