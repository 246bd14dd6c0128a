"""Executes one run: options, pipeline, the passes over the input, worker processes."""
