"""``python -m matgl_fill`` is the command line."""

from matgl_fill.cli import main

main()
