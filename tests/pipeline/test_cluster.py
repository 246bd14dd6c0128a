"""A cluster prepares an archive to the byte as one machine does, also if it loses processes."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.prepared import files_of, job_of, write_archive

from voucherify_sync.run.prepare_run import Preparation
from voucherify_sync.run.stages import LocalStages
from voucherify_sync.stop import Stop

pytestmark = pytest.mark.cluster
ray = pytest.importorskip("ray", reason="needs the extra `cluster`")

from voucherify_sync.run.cluster import RayStages  # noqa: E402  # Ray is there


@pytest.fixture
def stages() -> Iterator[RayStages]:
    """Yield a cluster of this machine alone."""
    yield RayStages("local", Stop())
    ray.shutdown()


def kill_a_worker(killed: list[int], over: threading.Event) -> None:
    """Kill the first process that runs a task."""
    while not over.wait(0.01):
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                runs_task = process.read_bytes().startswith(b"ray::run_marked")
            except OSError:
                continue
            if runs_task:
                killed.append(int(process.parent.name))
                os.kill(killed[0], signal.SIGKILL)
                return


def test_a_cluster_makes_the_files_that_one_machine_makes_although_a_worker_is_killed(
    tmp_path: Path, stages: RayStages
) -> None:
    """No task is lost, and none does anything twice that can be seen."""
    archive = write_archive(tmp_path / "archive", random.Random(20), 12)
    job, splits = job_of(archive, tmp_path / "one")
    Preparation(job, splits, LocalStages(1, Stop()), Stop()).run()
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_a_worker, args=(killed, over))
    killer.start()
    try:
        job, splits = job_of(archive, tmp_path / "cluster")
        preparation = Preparation(job, splits, stages, Stop())
        preparation.run()
    finally:
        over.set()
        killer.join()
    assert killed
    assert files_of(tmp_path / "cluster") == files_of(tmp_path / "one")
    assert preparation.report is not None
    assert not any(source.damaged for source in preparation.report.input.sources)


def test_a_run_that_stops_while_the_cluster_is_tried_has_lost_no_task(tmp_path: Path) -> None:
    """So nothing is said of memory, and nothing is written."""
    job, splits = job_of(write_archive(tmp_path / "archive", random.Random(21), 1), tmp_path / "cluster")
    stop = Stop()
    stages = RayStages("local", stop)
    try:
        stop.request()
        preparation = Preparation(job, splits, stages, stop)
        preparation.run()
    finally:
        ray.shutdown()
    assert preparation.report is None
