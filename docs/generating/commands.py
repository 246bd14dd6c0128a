"""Make the page of commands and options from the command line itself, found as the installed command finds it."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from generating.markdown import code, fenced, table
from generating.markdown import page as page_of

_INTRODUCTION: Final = """\
`voucherify-sync COMMAND --help` prints the same text. The [glossary](../glossary.md) explains the terms.

Options that take one value can also be set by the environment variable in the last column. The command line wins over
the environment, and the environment wins over the [settings](settings.md)."""


def page() -> str:
    """Return the page."""
    group, context = _installed()
    names = group.list_commands(context)
    overview = [
        (f"[`{name}`](#{name})", group.get_command(context, name).get_short_help_str(200)) for name in names
    ]
    return page_of(
        "Commands",
        "the command line",
        _INTRODUCTION,
        table(("command", "what it does"), overview),
        *(_command(group.get_command(context, name), context) for name in names),
    )


def _installed() -> tuple[Any, Any]:
    """Return the group of all commands, and a context in which they are looked at."""
    (script,) = entry_points(group="console_scripts", name="voucherify-sync")
    group = import_module(f"{script.module.rpartition('.')[0]}.group").cli
    return group, group.make_context("voucherify-sync", [], resilient_parsing=True)


def _command(command: Any, parent: Any) -> str:
    context = command.context_class(command, info_name=command.name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    sections: dict[str, list[tuple[str, str, str]]] = {}
    section_of = getattr(command, "section_of", lambda _: "Options")  # only some commands show groups
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and parameter.param_type_name == "option" and "--help" not in parameter.opts:
            row = (code(record[0]), _escaped(record[1]), code(_variable(parameter, context)))
            sections.setdefault(section_of(parameter), []).append(row)
    tables = [
        f"**{title}**\n\n{table(('option', 'meaning', 'variable'), rows)}" for title, rows in sections.items()
    ]
    return "\n\n".join([f"## {command.name}", fenced(usage, "text"), _prose(command.help or ""), *tables])


def _prose(text: str) -> str:
    """Return a help text as Markdown; what click keeps as it stands is code."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(_examples(each) if each.startswith("\b") else _escaped(each) for each in paragraphs)


def _examples(paragraph: str) -> str:
    title, *lines = paragraph.removeprefix("\b").strip("\n").splitlines()
    examples = inspect.cleandoc("\n".join(["", *lines]))
    return f"{title}\n\n{fenced(examples, 'sh')}"


def _variable(parameter: Any, context: Any) -> str:
    """Return the environment variable of an option, or nothing if it takes none, or many values."""
    if not parameter.allow_from_autoenv or parameter.multiple:
        return ""
    return f"{context.auto_envvar_prefix}_{parameter.name.upper()}"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")
