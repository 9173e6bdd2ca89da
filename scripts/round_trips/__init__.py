"""Documents read and written with their own text, and compared."""
