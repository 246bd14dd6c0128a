"""The floor of what parses everything: each line through msgspec's generic decoder and encoder, with no mapping.

From stdin to stdout, line by line.
"""

from __future__ import annotations

import sys

import msgspec


def main() -> None:
    """Read and write."""
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode
    write = sys.stdout.buffer.write
    for line in sys.stdin.buffer:
        write(encode(decode(line)) + b"\n")


if __name__ == "__main__":
    main()
