"""One run from its request to its report: the wings put together around the pipeline of `replay`."""
