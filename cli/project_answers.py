"""Asks the Voucherify project, and says on stderr what it tells: keys, limit, and how the customer mapping fits."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Final

import click

from voucherify_sync.errors import ExitCode
from voucherify_sync.preview.project_check import (
    CustomerSchema,
    Finding,
    Sort,
    ask,
    planned_findings,
    sampled_findings,
)
from voucherify_sync.preview.suggestions import SampleCounts, sample
from voucherify_sync.settings import Settings, credentials, path_of
from voucherify_sync.sources.discover import FoundSources
from voucherify_sync.stop import Stop
from voucherify_sync.text import clean, clean_lines, counted
from voucherify_sync.voucherify.client import Client
from voucherify_sync.voucherify.rate_limit import RateHeaders

_MAX_FINDINGS: Final = 50
_NO_SCHEMA = "The metadata schemas cannot be read with these keys, so the mapping was not held against them."
_NAME_SOURCES = "Name sources to have their values looked at: voucherify-sync check --online SOURCE"


def ask_project(effective: Settings, found: FoundSources | None) -> ExitCode:
    """Ask, then look at the sources if there are any.

    Raises:
        SettingsError: a key is missing.
        AccessRefused: the keys do not work.
        Unreachable, WrongAddress, RunStopped: as `voucherify_sync.preview.project_check.ask` does.
    """
    keys = credentials(effective, os.environ)
    client = Client(keys, workers=1)
    try:
        project = ask(client)
    finally:
        client.close()
    click.echo(f"{clean(keys.url)} takes the keys. {_limit(project.rate)}", err=True)
    if project.schema is None:
        click.echo(_NO_SCHEMA, err=True)
        return ExitCode.OK
    if found is None:
        return _tell_plan(effective, project.schema)
    for notice in found.notices:
        click.echo(clean_lines(notice), err=True)
    counts = SampleCounts()
    requests, findings = sampled_findings(effective, project.schema, sample(found.sources, Stop(), counts))
    looked_at = f"{counted(requests, 'request')} of {counted(counts.records, 'record')}"
    return _tell(findings, f"Customer metadata in {looked_at}")


def _tell_plan(effective: Settings, schema: CustomerSchema) -> ExitCode:
    code = _tell(planned_findings(effective, schema), "Customer metadata that the settings name")
    click.echo(_NAME_SOURCES, err=True)
    return code


def _tell(findings: Sequence[Finding], title: str) -> ExitCode:
    if not findings:
        click.echo(f"{title}: nothing against the project's schema.", err=True)
        return ExitCode.OK
    click.echo(f"{title}:", err=True)
    ordered = sorted(findings, key=lambda each: (not each.sort.refused, -each.count))
    for finding in ordered[:_MAX_FINDINGS]:
        click.echo(f"  {_sentence(finding)}\n      {_evidence(finding)}", err=True)
    if len(ordered) > _MAX_FINDINGS:
        click.echo(f"  and {counted(len(ordered) - _MAX_FINDINGS, 'key')} more", err=True)
    refused = any(finding.sort.refused for finding in findings)
    return ExitCode.INCOMPLETE if refused else ExitCode.OK


def _sentence(finding: Finding) -> str:
    key = clean(path_of("customer", "metadata", finding.key))
    match finding.sort:
        case Sort.UNDEFINED:
            fact = "not defined in the project, so it is stored as text"
        case Sort.NOT_ALLOWED:
            fact = "refused: not defined, and the project allows defined metadata only"
        case Sort.MISFIT:
            fact = f"refused: must be {finding.demand}"
        case Sort.MISSING:
            fact = f"missing: the project requires it ({finding.demand}) of every new customer"
    return f"{key}: {clean(fact, 300)}"


def _evidence(finding: Finding) -> str:
    where = clean(finding.where, 200)
    if finding.value is not None:
        where = f"{clean(json.dumps(finding.value, ensure_ascii=False), 40)} at {where}"
    return f"{counted(finding.count, 'request')}, first {where}" if finding.count else where


def _limit(rate: RateHeaders) -> str:
    if rate.limit is None:
        return "It tells no limit."
    left = "" if rate.remaining is None else f", {rate.remaining:,} left"
    return f"Limit: {counted(rate.limit, 'call')} a period{left}."
