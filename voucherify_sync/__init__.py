"""Replay Segment event archives into Voucherify. What programs call is in `voucherify_sync.api`."""
