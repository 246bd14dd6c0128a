"""A local stand-in for the Voucherify API that shows what it received and can misbehave on request."""

from voucherify_sync.sandbox.faults import Action, Fault, FaultScript, load_faults
from voucherify_sync.sandbox.limits import Limit
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.oracle import Answered, Oracle, Processed
from voucherify_sync.sandbox.server import Sandbox

__all__ = [
    "Action",
    "Answered",
    "Fault",
    "FaultScript",
    "Limit",
    "Oracle",
    "Processed",
    "Sandbox",
    "SandboxOptions",
    "load_faults",
]
