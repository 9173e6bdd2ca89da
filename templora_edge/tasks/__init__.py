"""What the commands do, as functions that return or yield results and print nothing."""
