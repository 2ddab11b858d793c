"""Job: ``kpod run``, for ``ray job submit --working-dir . -- python jobs/run.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
