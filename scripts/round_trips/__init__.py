"""Documents read, written with their own text, and compared with what they were."""
