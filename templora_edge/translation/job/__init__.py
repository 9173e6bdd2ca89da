"""A translation as a durable job: its files, settings, progress and results."""
