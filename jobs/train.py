"""Job: ``kpod train``, for ``ray job submit --working-dir . -- python jobs/train.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
