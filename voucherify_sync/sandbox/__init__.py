"""A local stand-in for the Voucherify API that shows what it received and can misbehave on request."""

from voucherify_sync.sandbox.faults import Fault, FaultScript
from voucherify_sync.sandbox.options import SandboxOptions
from voucherify_sync.sandbox.server import Sandbox

__all__ = ["Fault", "FaultScript", "Sandbox", "SandboxOptions"]
