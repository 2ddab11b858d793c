"""Job: ``kpod assess``, for ``ray job submit --working-dir . -- python jobs/assess.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["assess", *sys.argv[1:]])
