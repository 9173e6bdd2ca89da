"""Programs that train, benchmark and profile, and shell scripts for everyday work."""
