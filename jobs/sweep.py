"""Job ``kpod sweep``: ``ray job submit --working-dir . -- python jobs/sweep.py CONFIG``.

On a cluster with tokens, with RAY_AUTH_MODE=token. The arguments are those of ``kpod sweep``.
"""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["sweep", *sys.argv[1:]])
