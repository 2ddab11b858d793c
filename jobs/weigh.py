"""Job: ``kpod weigh``, for ``ray job submit --working-dir . -- python jobs/weigh.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["weigh", *sys.argv[1:]])
