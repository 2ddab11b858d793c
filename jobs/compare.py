"""Job: ``kpod compare``, for ``ray job submit --working-dir . -- python jobs/compare.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
