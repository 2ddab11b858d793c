"""The ``kpod`` command and what it shows in a terminal."""
