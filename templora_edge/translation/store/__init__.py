"""The durable state of a translation."""
