"""The one way to a rich console: data is never markup, and a closed pipe is no drama."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console


class PlainSpokenConsole(Console):
    """Falls silent when nobody reads on; rich itself would put stdout, where data goes, out of use."""

    def on_broken_pipe(self) -> None:
        """Say no more."""
        self.quiet = True


def console(stream: TextIO, *, width: int | None = None) -> Console:
    """Return a console on the stream that shows text as it is: no markup, no emoji codes, no highlighting."""
    return PlainSpokenConsole(
        file=stream,
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        legacy_windows=False,
    )
