"""HTML: the texts of a tree of elements, which EPUB shares; files; and pieces of HTML."""
