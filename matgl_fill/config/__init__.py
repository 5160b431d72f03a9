"""Settings of a run, in code and as a file."""
