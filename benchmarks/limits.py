"""How well the limiter keeps to a limit: share of what the reserve leaves that is used, share of calls throttled.

    python benchmarks/limits.py [--seconds 30]

The limits of the plans in scaled windows (100 in 2 s; 600 and 2,000 a minute as 60 and 200 in 6 s), fixed and sliding,
alone and beside another client that takes a third, with 32 workers and 50 ms of latency.
"""

from __future__ import annotations

import argparse
import threading
import time

from voucherify_sync.sandbox import Sandbox, SandboxOptions
from voucherify_sync.settings import Credentials, Secret
from voucherify_sync.stop import Stop
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.rate_limit import Limiter

WORKERS = 32
RESERVE = 0.1
LATENCY_S = 0.05


def credentials(sandbox: Sandbox) -> Credentials:
    """Return keys that any sandbox takes."""
    return Credentials("bench", Secret("bench"), sandbox.url, None)


def work(client: Client, limiter: Limiter, statuses: list[int]) -> None:
    """Make calls as fast as the limiter allows."""
    while permit := limiter.acquire():
        reply = client.call("GET", "/v1/customers", params={"limit": "1"})
        limiter.answered(permit, reply.status, reply.headers)
        statuses.append(reply.status)


def take_a_third(sandbox: Sandbox, a_second: float, stop: Stop, statuses: list[int]) -> None:
    """Be another client on the same key."""
    client = Client(credentials(sandbox), workers=1)
    while not stop.wait(1 / a_second):
        statuses.append(client.call("GET", "/v1/customers", params={"limit": "1"}).status)


def measure(limit: int, period_s: float, window: str, *, shared: bool, seconds: float) -> tuple[float, float]:
    """Return the share used of what the reserve leaves, others' calls included, and the share of ours throttled."""
    options = SandboxOptions(limit=f"{limit}/{period_s:g}s", window=window, latency_s=LATENCY_S)  # type: ignore[arg-type]
    stop = Stop()
    ours: list[int] = []
    others: list[int] = []
    with Sandbox(options) as sandbox:
        client = Client(credentials(sandbox), workers=WORKERS)
        limiter = Limiter(stop=stop, reserve=RESERVE, minute_s=period_s, hour_s=60 * period_s)
        threads = [threading.Thread(target=work, args=(client, limiter, ours)) for _ in range(WORKERS)]
        if shared:
            others_rate = limit / period_s / 3
            threads.append(threading.Thread(target=take_a_third, args=(sandbox, others_rate, stop, others)))
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stop.requested = True
        for thread in threads:
            thread.join()
    accepted = sum(status == 200 for status in ours + others)
    return accepted / (limit * (1 - RESERVE) * seconds / period_s), sum(s == 429 for s in ours) / len(ours)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    seconds = parser.parse_args().seconds
    print(f"{'limit':>10} {'window':>8} {'other client':>13} {'used':>7} {'throttled':>10}")
    for limit, period_s in ((100, 2.0), (60, 6.0), (200, 6.0)):
        for window in ("fixed", "sliding"):
            for shared in (False, True):
                used, throttled = measure(limit, period_s, window, shared=shared, seconds=seconds)
                other = "takes 1/3" if shared else "none"
                print(
                    f"{f'{limit}/{period_s:g}s':>10} {window:>8} {other:>13} {used:>7.1%} {throttled:>10.3%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
