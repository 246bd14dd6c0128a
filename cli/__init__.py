"""The command line of voucherify-sync, one file a command; no rule of the replay lives here."""
