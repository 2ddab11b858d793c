"""Job: ``kpod evaluate``, for ``ray job submit --working-dir . -- python jobs/evaluate.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
