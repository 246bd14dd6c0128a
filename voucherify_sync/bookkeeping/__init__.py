"""Fourth wing: outcomes are counted, kept and reported."""
