"""What things cost in time, memory and operations, and the inputs that this is measured on."""
