"""Asks a question on the terminal, and hears a signal at any moment meanwhile."""

from __future__ import annotations

import select
import sys

import click

from .signals import leaving

_LOOK_S = 0.1


def ask(question: str) -> bool:
    """Ask on stderr and wait for a line on stdin; return whether the answer is yes. Everything else is a no.

    It does not wait in `input()`: Python hears a signal that comes just before a read only after it, that is, after the
    next line.

    Raises:
        SystemExit: a signal came.
        click.Abort: stdin has ended.
    """
    with leaving():
        try:
            click.echo(f"{question} [y/N]: ", nl=False, err=True)
            while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
                pass
            answer = sys.stdin.readline()
        except SystemExit:
            click.echo(err=True)  # the prompt of the shell gets a line of its own
            raise
    if not answer:
        click.echo(err=True)
        raise click.Abort
    return answer.strip().lower() in {"y", "yes"}
