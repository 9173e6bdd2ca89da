"""The durable state of a job: what translation and generation keep in the same way."""
