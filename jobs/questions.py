"""Job: ``kpod questions``, for ``ray job submit --working-dir . -- python jobs/questions.py CONFIG``."""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["questions", *sys.argv[1:]])
