"""The protocols that measure: perplexity, passkey, translation scores."""
