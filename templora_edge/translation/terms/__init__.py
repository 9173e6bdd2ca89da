"""Names and recurring terms of a document, with drafts of their renderings."""
