"""Make the reference pages: each module reads one part of the code and returns a page."""
