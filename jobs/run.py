"""Job ``kpod run``: ``ray job submit --working-dir . -- python jobs/run.py CONFIG``.

On a cluster with tokens, with RAY_AUTH_MODE=token. The arguments are those of ``kpod run``.
"""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
