"""Writes the reports of a run after its summary. A report that cannot be written does not change the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from voucherify_sync.errors import VoucherifySyncError
from voucherify_sync.events import Json
from voucherify_sync.report.run_report import encode_report, write_report
from voucherify_sync.text import clean, clean_lines

from .spare import spare_file
from .streams import StdoutLost


def write_reports(paths: Sequence[str], report: Json, *, quiet: bool) -> None:
    """Write a report to each path; keep one that cannot be written in the state directory, and say where.

    Args:
        paths: files, or `-` for JSON on stdout.
        report: as Run.to_dict gives it.
        quiet: name only the reports that could not be written.
    """
    for path in paths:
        error = _write_error(path, report)
        if error is not None:
            click.echo(clean_lines(f"Warning: {error} {_keep(path, report)}"), err=True)
        elif path != "-" and not quiet:
            click.echo(f"Report: {clean(path, 4_096)}", err=True)


def _write_error(path: str, report: Json) -> str | None:
    """Write a report; return a sentence if that is not possible."""
    try:
        if path == "-":
            sys.stdout.buffer.write(encode_report(report))
            sys.stdout.flush()
        else:
            _write(Path(path), report)
    except StdoutLost as lost:
        return None if lost.has_no_reader else f"cannot write the report to standard output: {lost.reason}."
    except VoucherifySyncError as error:
        return f"{error.message}."
    return None


def _keep(path: str, report: Json) -> str:
    """Write a report to the state directory; return a sentence that says where it is."""
    suffix = ".html" if _is_page(Path(path)) else ".json"
    try:
        file = spare_file("reports", f"{report['run_id']}{suffix}")
        _write(file, report)
    except VoucherifySyncError as error:
        return f"The report could not be kept elsewhere: {error.message.rstrip('.')}."
    return f"The report is kept in {file} instead."


def _is_page(path: Path) -> bool:
    return path.name.endswith((".html", ".htm"))


def _write(path: Path, report: Json) -> None:
    if _is_page(path):
        from voucherify_sync.report.html import write_html_report  # jinja2 only when asked

        write_html_report(path, report)
    else:
        write_report(path, report)
