"""Evaluation: perplexity, the passkey test, translation scores."""
