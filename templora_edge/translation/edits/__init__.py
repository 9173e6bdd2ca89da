"""What people change in a translation, in a document, an exchanged file or an editor."""
