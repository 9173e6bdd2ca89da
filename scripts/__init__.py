"""Programs that train, measure and profile; shell scripts for everyday work."""
