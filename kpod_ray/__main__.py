"""``python -m kpod_ray``: the ``kpod`` command."""

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main()
