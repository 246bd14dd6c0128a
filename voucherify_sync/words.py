"""Numbers, sizes and times go in; what people read comes out."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return `1 call`, `1,204 calls`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(count: int) -> str:
    """Return a number of bytes as `812 bytes`, `3.1 MB`; a MB is 1,000,000 bytes."""
    if count < 1_000:
        return counted(count, "byte")
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1_000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1_000:,.1f} TB"


def span(seconds: float) -> str:
    """Return a length of time by its two largest units: `0.4 s`, `41 s`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return _two(whole, (60, "min"), (1, "s"))
    if whole < 86_400:
        return _two(whole, (3_600, "h"), (60, "min"))
    return _two(whole, (86_400, "d"), (3_600, "h"))


def _two(whole: int, large: tuple[int, str], small: tuple[int, str]) -> str:
    first, rest = divmod(whole, large[0])
    second = rest // small[0]
    return f"{first:,} {large[1]} {second} {small[1]}" if second else f"{first:,} {large[1]}"
