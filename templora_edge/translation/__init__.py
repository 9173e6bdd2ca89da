"""Translation: what a segment is, what is asked of the model, and what may be believed of it."""
