"""The report of a run: counted once, rendered as text, HTML and JSON."""
