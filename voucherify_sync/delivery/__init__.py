"""Sends requests, in order per customer and within the limit."""
