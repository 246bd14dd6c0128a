"""YAML -> Settings: all mistakes at once, each with its place and a suggestion."""

from voucherify_sync.settings.address import clean_url
from voucherify_sync.settings.defaults import DEFAULT_ROWS, IDENTIFY_ROWS, TRACK_ROWS
from voucherify_sync.settings.effective import digest, dump
from voucherify_sync.settings.environment import application_id, credentials, token_file
from voucherify_sync.settings.found import Found, path_of
from voucherify_sync.settings.loading import DEFAULT_FILE, absolute, load, load_with_tests, settings_file
from voucherify_sync.settings.mapping_tests import EventAt, Expected, MappingTest
from voucherify_sync.settings.schema import json_schema
from voucherify_sync.settings.secrecy import warnings
from voucherify_sync.settings.template import template
from voucherify_sync.settings.types import (
    Api,
    Credentials,
    Delivery,
    Identify,
    Identity,
    Personas,
    Rate,
    Rows,
    Secret,
    Settings,
    Track,
)
from voucherify_sync.settings.values import parse_rate

__all__ = [
    "DEFAULT_FILE",
    "DEFAULT_ROWS",
    "IDENTIFY_ROWS",
    "TRACK_ROWS",
    "Api",
    "Credentials",
    "Delivery",
    "EventAt",
    "Expected",
    "Found",
    "Identify",
    "Identity",
    "MappingTest",
    "Personas",
    "Rate",
    "Rows",
    "Secret",
    "Settings",
    "Track",
    "absolute",
    "application_id",
    "clean_url",
    "credentials",
    "digest",
    "dump",
    "json_schema",
    "load",
    "load_with_tests",
    "parse_rate",
    "path_of",
    "settings_file",
    "template",
    "token_file",
    "warnings",
]
