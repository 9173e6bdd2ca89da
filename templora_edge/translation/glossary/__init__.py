"""Terms and their translations, from tables and TBX files."""
