"""Builders and servers that several tests share."""
