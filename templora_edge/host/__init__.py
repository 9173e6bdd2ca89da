"""The machine: files, temporary storage, memory and cores."""
