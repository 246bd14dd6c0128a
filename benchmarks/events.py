"""Realistic Segment events for benchmarks: a seed goes in, lines of an archive come out, fast and always the same.

python benchmarks/events.py 200000 --seed 7 --out events.ndjson.gz
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

START_MS = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1000)
STEP_MS = 1_370
LATE_MS = 86_400_000

IDENTIFY = (
    '{"anonymousId":"%(anonymous)s","channel":"server","context":{"app":{"name":"shop","version":"2.9.1"},'
    '"ip":"203.0.113.%(byte)d","library":{"name":"analytics-node","version":"2.1.3"},"locale":"en-GB",'
    '"timezone":"Europe/London","userAgent":"%(agent)s"%(padding)s},"integrations":{},'
    '"messageId":"%(message)s","originalTimestamp":"%(time)s","projectId":"8Kx2vQd1Lm",'
    '"receivedAt":"%(time)s","sentAt":"%(time)s","timestamp":"%(time)s","traits":{"firstName":"%(first)s",'
    '"lastName":"%(last)s","email":"customer%(customer)d@example.com","phone":"+44 20 7946 %(phone)04d",'
    '"address":{"street":"%(byte)d Brick Lane","city":"London","state":"","postalCode":"E1 6RF","country":"GB"},'
    '"createdAt":"%(time)s","loyalty_tier":"%(tier)s","orders":%(number)d,"marketing_opt_in":true,"age":null%(metadata)s},'
    '"type":"identify","userId":"usr_%(customer)d","version":2}\n'
)
ORDER = (
    '{"anonymousId":"%(anonymous)s","channel":"server","context":{"app":{"name":"shop","version":"2.9.1"},'
    '"ip":"203.0.113.%(byte)d","library":{"name":"analytics-node","version":"2.1.3"},"locale":"en-GB",'
    '"timezone":"Europe/London","userAgent":"%(agent)s"%(padding)s},"event":"Order Completed","integrations":{},'
    '"messageId":"%(message)s","originalTimestamp":"%(time)s","projectId":"8Kx2vQd1Lm",'
    '"properties":{"order_id":"KS-%(index)d","currency":"EUR","total":%(number)d.90,"revenue":%(number)d.00,'
    '"shipping":3.9,"coupon":null,"email":"customer%(customer)d@example.com","products":[{"product_id":"KS-ETH-250",'
    '"sku":"KS-ETH-250","name":"Yirgacheffe Konga 250 g","price":12.9,"quantity":1},{"product_id":"KS-V60-02",'
    '"sku":"KS-V60-02","name":"Hand dripper","price":27,"quantity":1}]%(metadata)s},"receivedAt":"%(time)s",'
    '"sentAt":"%(time)s","timestamp":"%(time)s","type":"track","userId":"usr_%(customer)d","version":2}\n'
)
VIEW = (
    '{"anonymousId":"%(anonymous)s","channel":"client","context":{"ip":"203.0.113.%(byte)d","library":'
    '{"name":"analytics.js","version":"next-1.76.0"},"locale":"en-GB","page":{"path":"/coffee/%(number)d",'
    '"referrer":"https://www.example.com/","search":"?utm_source=mail","title":"Coffee","url":'
    '"https://shop.example.com/coffee/%(number)d"},"timezone":"Europe/London","userAgent":"%(agent)s"%(padding)s},'
    '"event":"%(name)s","integrations":{},"messageId":"%(message)s","originalTimestamp":"%(time)s",'
    '"projectId":"5hTz9RwYb3","properties":{"cart_id":"c_%(index)d","product_id":"KS-%(number)d","price":%(number)d.5,'
    '"quantity":1,"category":"Filter coffee","variant":"whole beans"%(metadata)s},'
    '"receivedAt":"%(time)s","sentAt":"%(time)s","timestamp":"%(time)s","type":"track","userId":"usr_%(customer)d","version":2}\n'
)
METADATA = (
    ',"metadata":{"store":"%(store)s","campaign":"spring-%(number)d","score":%(number)d.25,"first_visit":false,'
    '"tags":["%(tier)s","web"],"box":{"size":"%(tier)s","items":%(number)d}}'
)
NAMES = ("Product Viewed", "Product Added", "Cart Viewed", "Checkout Started", "Newsletter Subscribed")
FIRST = ("Mia", "José", "Zoë", "Olu", "Søren", "Anna", "Aiko", "Noor", "Inês", "Chloé", "李", "Tom")
LAST = ("Hoffmann", "Muñoz", "Berg", "Adébáyò", "Kjær", "Öztürk", "佐藤", "Haddad", "Ferreira", "O'Neill")
TIERS = ("bean", "roast", "reserve")
STORES = ("Borough", "Leith", "Mitte", "Kazimierz")
AGENTS = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0",
)


def generate(
    count: int,
    *,
    seed: int = 1,
    identifies: float = 0.3,
    customers: int | None = None,
    size: int = 1_200,
    out_of_order: float = 0.01,
    metadata: bool = False,
) -> Iterator[bytes]:
    """Yield lines, each with its line feed and a messageId of its own; the same arguments give the same lines.

    Args:
        count: how many.
        seed: of all that is random.
        identifies: share of identify events, 0 to 1; a tenth of the others are orders.
        customers: how many different userIds; default one for ten events.
        size: bytes of a line, about; lines are padded, never cut.
        out_of_order: share of events that are up to a day older than their neighbours, 0 to 1.
        metadata: traits and properties hold an object of that name, which a row of the default table takes.
    """
    rng = random.Random(seed)
    templates = [
        template.replace("%(metadata)s", METADATA if metadata else "") for template in (IDENTIFY, ORDER, VIEW)
    ]
    pads = [(template, _padding(template, size)) for template in templates]
    people = customers or max(count // 10, 1)
    for index in range(count):
        lot = rng.random()
        kind = 0 if lot < identifies else 1 if lot < identifies + (1 - identifies) / 10 else 2
        late_ms = rng.randrange(LATE_MS) if out_of_order and rng.random() < out_of_order else 0
        template, padding = pads[kind]
        fields = _fields(rng.getrandbits(62), seed, index, people, late_ms)
        yield (template % {**fields, "padding": padding}).encode()


def _fields(bits: int, seed: int, index: int, people: int, late_ms: int) -> dict[str, int | str]:
    """Return what one event says, all of it taken from one random number: this is where the time goes."""
    customer = bits % people
    low = bits & 0xFFFF
    return {
        "customer": customer,
        "anonymous": f"7c1e94d2-5b1f-4c0a-9e{seed & 0xFF:02x}-{customer:012x}",
        "message": f"{index & 0xFFFFFFFF:08x}-{low:04x}-4{seed & 0xFFF:03x}-a1b2-{index:012x}",
        "time": _time(START_MS + index * STEP_MS - late_ms),
        "index": index,
        "byte": low & 0xFF,
        "number": low % 97 + 3,
        "phone": low % 10_000,
        "name": NAMES[low % len(NAMES)],
        "first": FIRST[customer % len(FIRST)],
        "last": LAST[customer % len(LAST)],
        "tier": TIERS[low % len(TIERS)],
        "agent": AGENTS[low & 1],
        "store": STORES[low % len(STORES)],
    }


_days: dict[int, str] = {}


def _time(milliseconds: int) -> str:
    day, rest = divmod(milliseconds, 86_400_000)
    if day not in _days:
        _days[day] = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
    seconds, millis = divmod(rest, 1_000)
    return f"{_days[day]}T{seconds // 3_600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{millis:03d}Z"


CONTEXT = (
    (
        ',"userAgentData":{"brands":[{"brand":"Chromium","version":"130"},{"brand":"Google Chrome","version":"130"},'
        '{"brand":"Not?A_Brand","version":"99"}],"mobile":false,"platform":"macOS"}'
    ),
    ',"screen":{"width":1512,"height":982,"density":2,"innerWidth":1512,"innerHeight":776}',
    ',"os":{"name":"macOS","version":"14.6.1"},"network":{"bluetooth":false,"carrier":"","cellular":false,"wifi":true}',
    ',"device":{"id":"7c1e94d2","manufacturer":"Apple","model":"Mac15,3","name":"shop","type":"desktop"}',
)
"""Members of the context of a web event, of which archives are full."""


def _padding(template: str, size: int) -> str:
    """Return members of `context` that bring a line of this template to its size."""
    padding = ""
    bare = len(template % {**_fields(0, 1, 0, 1, 0), "padding": ""})
    for member in CONTEXT:
        if bare + len(padding) + len(member) < size:
            padding += member
    missing = size - bare - len(padding) - len(',"campaign":{"content":""}')
    if missing > 0:
        padding += f',"campaign":{{"content":"{"spring roast " * (missing // 13 + 1):.{missing}}"}}'
    return padding


def main() -> None:
    """Write events to a file or to stdout."""
    parser = argparse.ArgumentParser(description="Write realistic Segment events, one a line.")
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file, gzipped if its name ends in .gz; default stdout")
    parser.add_argument("--identifies", type=float, default=0.3, metavar="SHARE")
    parser.add_argument("--customers", type=int, metavar="K")
    parser.add_argument("--size", type=int, default=1_200, metavar="BYTES")
    parser.add_argument("--out-of-order", type=float, default=0.01, metavar="SHARE")
    parser.add_argument("--metadata", action="store_true")
    options = vars(parser.parse_args())
    out, count = options.pop("out"), options.pop("count")
    with contextlib.ExitStack() as stack:
        target = sys.stdout.buffer if out is None else stack.enter_context(_open(out))
        target.writelines(generate(count, **options))


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.GzipFile(path, "wb", compresslevel=1, mtime=0)  # type: ignore[return-value]
    return path.open("wb")


if __name__ == "__main__":
    main()
