"""What is remembered of a project: its ledger, its dead letters, and the keys of a run."""
