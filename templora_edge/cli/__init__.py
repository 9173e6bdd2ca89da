"""The command line: typer, rich and enlighten, thin over tasks. Importing it loads no model."""
