"""The floor of what parses everything: each line through orjson and back, from stdin to stdout, with no mapping."""

from __future__ import annotations

import sys

import orjson


def main() -> None:
    """Read and write line by line."""
    write = sys.stdout.buffer.write
    for line in sys.stdin.buffer:
        write(orjson.dumps(orjson.loads(line)) + b"\n")


if __name__ == "__main__":
    main()
