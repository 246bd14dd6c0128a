"""Third wing: requests go to Voucherify, in order for each customer and within its limits."""
