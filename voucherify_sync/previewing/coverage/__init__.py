"""How much of many events a mapping carries: records in; paths, destinations, rows and advice out."""

from voucherify_sync.previewing.coverage.advice import proposed_yaml
from voucherify_sync.previewing.coverage.counting import Coverage
from voucherify_sync.previewing.coverage.result import to_dict

__all__ = ["Coverage", "proposed_yaml", "to_dict"]
