"""The process group of Ray Train workers on one machine, which no other machine can reach.

Workers of Ray Train find each other through torch's TCP store, which listens on every network interface
and accepts every client. Workers of a Ray that listens on the loopback address only use a file instead.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import Any

import ray
from ray._private import worker
from ray.train.torch import TorchConfig
from ray.train.torch.config import (
    _set_torch_distributed_env_vars,
    _setup_torch_process_group,
    _TorchBackend,
)


def config() -> TorchConfig:
    """Return Ray Train's configuration of torch for the connected Ray."""
    listens_on_loopback = ray.util.get_node_ip_address() == "127.0.0.1"
    return _LocalConfig() if listens_on_loopback else TorchConfig()


@dataclasses.dataclass
class _LocalConfig(TorchConfig):
    """A configuration of Ray Train whose workers, all on one machine, find each other through a file."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """Return the backend that Ray Train calls when it starts and ends a group of workers."""
        return _FileBackend


class _FileBackend(_TorchBackend):
    """Ray's backend with a file in place of the TCP store."""

    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Connect the workers of a group; a group after a failure has another file."""
        has_gpus = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        file = f"{worker._global_node.get_session_dir_path()}/group-{uuid.uuid4().hex}"
        worker_group.execute(_set_torch_distributed_env_vars)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank,
                    _setup_torch_process_group,
                    backend="nccl" if has_gpus else "gloo",
                    world_rank=rank,
                    world_size=len(worker_group),
                    init_method=f"file://{file}",
                    timeout_s=backend_config.timeout_s,
                )
                for rank in range(len(worker_group))
            ]
        )
