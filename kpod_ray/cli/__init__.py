"""The ``kpod`` command: its subcommands (`main`), and what they print in a terminal."""
