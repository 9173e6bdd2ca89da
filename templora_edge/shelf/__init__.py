"""A shelf of books: one job each, on this machine or on the workers of a Dask scheduler."""
