"""What the reference pages are made of: each module reads one part of the code and returns a page."""
