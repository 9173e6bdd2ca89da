"""Models by name: which file of a repository is meant, where it is cached, how it is fetched."""
