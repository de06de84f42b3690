"""What is wrong with the machine, and what to do about it."""
