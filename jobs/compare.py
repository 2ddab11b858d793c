"""Job ``kpod compare``: ``ray job submit --working-dir . -- python jobs/compare.py CONFIG``.

On a cluster with tokens, with RAY_AUTH_MODE=token. The arguments are those of ``kpod compare``.
"""

import sys

from kpod_ray.cli.main import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
