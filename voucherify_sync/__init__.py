"""Replay Segment event archives into Voucherify."""
