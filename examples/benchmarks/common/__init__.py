"""What all measurements share: files of rows, loaders, options of the command line."""
