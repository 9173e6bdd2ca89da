"""Long generation as a job: a prompt in, a text and a report out."""
