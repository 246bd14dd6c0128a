"""Help of commands with many options: they stand under the headings of what they are for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

REST = "Options"


class GroupedOption(click.Option):
    """An option that stands under a heading of its own group."""

    def __init__(self, *names: Any, group: str = REST, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.group = group


def options_of(group: str) -> Callable[..., Callable[..., Any]]:
    """Return what makes options of a group, to be used as `click.option` is."""
    return partial(click.option, cls=GroupedOption, group=group)


class GroupedCommand(click.Command):
    """A command whose help shows one section for each group, in the order of the options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(parameter, "group", REST), []).append(record)
        sections[REST] = sections.pop(REST)  # `--help` itself comes last
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
