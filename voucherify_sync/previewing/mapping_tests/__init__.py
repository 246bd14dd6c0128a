"""Mapping tests: events go through the filters and the mapping of the settings, and what comes out is compared."""

from voucherify_sync.previewing.mapping_tests.differences import NOTHING, Difference, text_of
from voucherify_sync.previewing.mapping_tests.junit import junit
from voucherify_sync.previewing.mapping_tests.running import Result, run_tests
from voucherify_sync.previewing.mapping_tests.updating import Update, update

__all__ = ["NOTHING", "Difference", "Result", "Update", "junit", "run_tests", "text_of", "update"]
