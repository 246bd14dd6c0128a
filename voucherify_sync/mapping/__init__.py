"""Makes requests of events, by the rows, filters and fallbacks of the settings."""
