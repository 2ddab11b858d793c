"""Job: ``kpod report``, for ``ray job submit --working-dir . -- python jobs/report.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
