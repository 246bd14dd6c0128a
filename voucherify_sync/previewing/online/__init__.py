"""What only the Voucherify project itself can tell before a run: whether the keys work, and its metadata schema."""

from voucherify_sync.previewing.online.fitting import Finding, Fit, Sort, planned_findings, sampled_findings
from voucherify_sync.previewing.online.project import Project, ask
from voucherify_sync.previewing.online.schema import CustomerSchema, Definition

__all__ = [
    "CustomerSchema",
    "Definition",
    "Finding",
    "Fit",
    "Project",
    "Sort",
    "ask",
    "planned_findings",
    "sampled_findings",
]
