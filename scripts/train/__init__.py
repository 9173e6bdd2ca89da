"""Training of the small models: the bundled ones and the passkey model."""
