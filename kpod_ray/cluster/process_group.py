"""The process group of Ray Train workers on one machine, which no other machine can reach.

Workers of Ray Train find each other through torch's TCP store, which listens on every network interface
and accepts every client. Workers of a Ray that listens on the loopback address only use a file instead.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch.config import (
    _set_torch_distributed_env_vars,
    _setup_torch_process_group,
    _TorchBackend,
)

INTERFACE = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
"""Environment variables with which workers of one machine listen on the loopback address only."""


def is_local() -> bool:
    """Return whether the connected Ray listens on the loopback address, so that all is on one machine."""
    return bool(ray.util.get_node_ip_address() == "127.0.0.1")


@dataclasses.dataclass
class LocalTorchConfig(TorchConfig):
    """A configuration of Ray Train whose workers, all on one machine, find each other through a file."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Return the backend that Ray Train calls when it starts and ends a group of workers."""
        return _FileBackend


class _FileBackend(_TorchBackend):
    """Ray's backend with a file in place of the TCP store; there is one instance a training."""

    folder: str | None = None

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Connect the workers of a group; a group after a failure has another file."""
        has_gpus = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        self.folder = tempfile.mkdtemp(prefix="kpod-group-")
        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _setup_torch_process_group,
                    backend="nccl" if has_gpus else "gloo",
                    world_rank=rank,
                    world_size=len(worker_group),
                    init_method=f"file://{self.folder}/store",
                    timeout_s=backend_config.timeout_s,
                )
                for rank in range(len(worker_group))
            ]
        )

    def on_shutdown(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """End the group and remove its file."""
        super().on_shutdown(worker_group, backend_config)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
