"""All that names the Voucherify API: calls, answers, limits, retries, bulk requests and activity."""
