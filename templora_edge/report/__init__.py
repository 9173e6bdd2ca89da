"""The report of a run as a page: its curves, its costs, and the text with its blocks."""
