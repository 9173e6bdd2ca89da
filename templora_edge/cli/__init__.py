"""The command line: typer and rich, thin over tasks. Importing it loads no model."""
