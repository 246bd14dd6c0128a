"""Files, directories and pipes are read, and their lines become events."""
