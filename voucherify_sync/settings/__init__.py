"""Reads YAML settings: all mistakes at once, each with its place and a suggestion."""

from voucherify_sync.settings.conversion import parse_rate
from voucherify_sync.settings.environment import application_id, clean_url, credentials, token_file
from voucherify_sync.settings.load import (
    DEFAULT_FILE,
    BlockPlace,
    absolute,
    block_places,
    default_table_notices,
    load,
    load_with_doubts,
    load_with_tests,
    settings_file,
    warnings,
)
from voucherify_sync.settings.mapping_tests import EventAt, Expected, MappingTest
from voucherify_sync.settings.schema import json_schema
from voucherify_sync.settings.template import digest, digest_of_all, dump, template
from voucherify_sync.settings.types import (
    DEFAULT_ROWS,
    Api,
    Credentials,
    Delivery,
    Identify,
    Identity,
    Personas,
    Rate,
    Secret,
    Settings,
    Track,
)

__all__ = [
    "DEFAULT_FILE",
    "DEFAULT_ROWS",
    "Api",
    "BlockPlace",
    "Credentials",
    "Delivery",
    "EventAt",
    "Expected",
    "Identify",
    "Identity",
    "MappingTest",
    "Personas",
    "Rate",
    "Secret",
    "Settings",
    "Track",
    "absolute",
    "application_id",
    "block_places",
    "clean_url",
    "credentials",
    "default_table_notices",
    "digest",
    "digest_of_all",
    "dump",
    "json_schema",
    "load",
    "load_with_doubts",
    "load_with_tests",
    "parse_rate",
    "settings_file",
    "template",
    "token_file",
    "warnings",
]
