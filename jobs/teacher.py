"""Job: ``kpod teacher``, for ``ray job submit --working-dir . -- python jobs/teacher.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["teacher", *sys.argv[1:]])
