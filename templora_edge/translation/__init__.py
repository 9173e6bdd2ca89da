"""Translation of documents: segments, prompts, checks of answers, and durable jobs."""
