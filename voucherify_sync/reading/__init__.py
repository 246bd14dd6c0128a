"""First wing: bytes of files and pipes become events."""
