"""Start an S3 server (moto) in a process of its own, which can be stopped and started again.

The server keeps its objects while it is stopped. Needs ``moto[server]``. Used by
`benchmarks.object_store` and by tests.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
"""Made-up keys: moto accepts any."""


class ObjectServer:
    """A handle of the server's process. The server listens on the loopback address only.

    Args:
        process: process that runs `serve`.
        port: port of the server.
    """

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.environment = {
            **KEYS,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def tell(self, order: str) -> None:
        """Send an order to the process and wait until the order is carried out.

        Args:
            order: ``stop``, ``start`` or ``bucket NAME``, which creates a bucket.

        Raises:
            RuntimeError: The process ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != "done\n":
            raise RuntimeError(f"the object server failed at {order}")


@contextlib.contextmanager
def object_server(settings: Mapping[str, str] | None = None) -> Iterator[ObjectServer]:
    """Start a server for the block.

    Args:
        settings: further environment variables of the server's process.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.object_server", str(port)]
    environment = {**os.environ, **(settings or {})}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            server = ObjectServer(process, port)
            server.tell("start")
            yield server
        finally:
            process.terminate()


def serve(port: int) -> None:
    """Carry out the orders on standard input, one a line, until standard input ends."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    for line in sys.stdin:
        order, _, name = line.strip().partition(" ")
        if order == "start":
            server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
            server.start()
        elif order == "stop":
            server.stop()
        elif order == "bucket":
            client = boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name="us-east-1",
                aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            )
            client.create_bucket(Bucket=name)
        print("done", flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
