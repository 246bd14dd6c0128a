"""Second wing: events become requests, by the tables, filters and fallbacks of the settings."""
