"""Remembers what a project was sent: ledger, dead letters, and the keys of the run."""
