"""Floor 3: inside the task process; never the database."""
