"""Job: ``kpod plan``, for ``ray job submit --working-dir . -- python jobs/plan.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["plan", *sys.argv[1:]])
