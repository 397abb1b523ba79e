"""Floor 6: the command line; it renders and parses, and decides nothing."""
