"""The report of a run goes in; one HTML file for people comes out: no network, no script, nothing to load.

Whatever stands in the report is data: each text is cleaned and escaped at the one door to the page.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from voucherify_sync.bookkeeping.html_view import view
from voucherify_sync.bookkeeping.private import trouble, write_whole
from voucherify_sync.clean import clean
from voucherify_sync.model import Json
from voucherify_sync.words import size

_LONGEST_TEXT = 4_096
_FIRST_ROWS = 15
_MOST_ROWS = 200


def write_html_report(path: Path, report: Json) -> None:
    """Write the report as one HTML file, whole or not at all, readable by its owner only.

    Raises RunStopped when the disk is full, UsageProblem when the path cannot be written.
    """
    try:
        write_whole(path, render(report).encode())
    except OSError as error:
        raise trouble(path, error) from error


def render(report: Json) -> str:
    """Return the page for a report as Report.to_dict gives it."""
    style = _resource("report.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = _environment().from_string(_resource("report.html.j2"))
    return template.render(
        page=view(report),
        style=Markup(style),  # noqa: S704 - our own file, no data in it
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        first_rows=_FIRST_ROWS,
        most_rows=_MOST_ROWS,
    )


def _resource(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


def _environment() -> Environment:
    environment = Environment(
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    environment.filters["size"] = size
    environment.filters["percent"] = _percent
    return environment


def _shown(value: Any) -> Any:
    """Clean a text on its way to the page; only what the template made itself passes as it is."""
    return clean(value, _LONGEST_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _percent(share: float) -> str:
    return "100%" if share == 100 else f"{share:.1f}%"
