"""Reads files, directories and pipes, and decodes their lines to events."""
