"""The host machine: files, temporary storage, memory and cores."""
