"""Job ``kpod run``: ``ray job submit --working-dir . -- python jobs/run.py CONFIG``.

The arguments are those of ``kpod run``.
"""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
