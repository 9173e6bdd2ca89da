"""Training of small models: the bundled ones and the passkey model."""
