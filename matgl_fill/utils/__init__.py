"""Tools that every room needs and none owns: files, console, hashes, validation."""
