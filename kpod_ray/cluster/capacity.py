"""What a cluster lacks for a config, said before anything waits for it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence

import ray

from kpod_ray.cluster.placement import given_labels, num_processes
from kpod_ray.config import (
    ActorResources,
    ResourcesConfig,
    RunConfig,
    WorkerResources,
)
from kpod_ray.errors import KpodError

Request = ActorResources | WorkerResources
_ACCELERATOR = "accelerator_type:"
"""Starts the name of the resource by which Ray tells which accelerator a node has."""
_ROUNDING = 1e-6
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Node:
    """A machine of a cluster, as Ray knows it."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]

    def accelerators(self) -> set[str]:
        """Return the kinds of its accelerators."""
        names = (name for name in self.resources if name.startswith(_ACCELERATOR))
        return {name.removeprefix(_ACCELERATOR) for name in names}

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether it has these labels."""
        return all(self.labels.get(key) == value for key, value in labels.items())

    def takes(self, request: Request) -> bool:
        """Whether it is one of the machines that a phase may run on."""
        kind = request.accelerator_type
        return self.has(request.labels) and (kind is None or kind in self.accelerators())

    def room(self, request: Request) -> int:
        """Return how many actors or workers it could hold, were it empty."""
        shares = [
            self.resources.get(name, 0) / amount for name, amount in _amounts(request).items()
        ]
        return int(min(shares) + _ROUNDING)


def nodes_of_cluster() -> list[Node]:
    """Return the nodes that are alive."""
    return [Node(n["Resources"], n["Labels"]) for n in ray.nodes() if n["Alive"]]


def check_resources(config: RunConfig, artifacts: Iterable[str]) -> None:
    """Check that the cluster can hold every phase that makes these artifacts.

    Raises:
        KpodError: It never could hold one; what is missing is named. A cluster that grows on demand is
            warned about instead.
    """
    nodes = nodes_of_cluster()
    for phase in phases_of(config, artifacts):
        told = lack(phase, getattr(config.resources, phase), nodes)
        if told and not config.resources.autoscaling:
            raise KpodError(told)
        if told:
            logger.warning("%s; waiting until the cluster grows", told)


def phases_of(config: RunConfig, artifacts: Iterable[str]) -> list[str]:
    """Return the phases in ``resources`` that have to run to make artifacts, in order."""
    phases = {
        "teacher": list(config.teacher.resource_groups),
        "weigh": list(config.weighting.resource_groups) if config.weighting else [],
        "assess": ["assess"],
        "train": ["train"],
        "evaluate_before": ["evaluate"],
        "evaluate": ["evaluate"],
    }
    return list(dict.fromkeys(phase for name in artifacts for phase in phases.get(name, [])))


def lack(phase: str, request: Request, nodes: Sequence[Node]) -> str | None:
    """Say in a line what a cluster lacks for a phase; None if nothing."""
    labelled = [node for node in nodes if node.has(request.labels)]
    if not labelled:
        return (
            f"resources.{phase}.labels: no node has {_pairs(request.labels)}; the cluster has "
            f"{_known_labels(nodes)}"
        )
    fitting = [node for node in labelled if node.takes(request)]
    if not fitting:
        return _no_accelerator(phase, request, nodes, labelled)
    what = _process(request)
    if not any(node.room(request) for node in fitting):
        return (
            f"resources.{phase}: {what} needs {_spelt(_amounts(request))} on one node, the largest "
            f"node{_where(request)} has {_largest(request, fitting)}; ask for less or add larger nodes"
        )
    wanted, room = _fewest(request), sum(node.room(request) for node in fitting)
    if wanted > room:
        return (
            f"resources.{phase} needs {wanted} times {_spelt(_amounts(request))}, the cluster has "
            f"room for {room} of them{_where(request)}; ask for less or add nodes"
        )
    return _no_spare(phase, request, nodes)


def num_concurrent(config: RunConfig) -> int:
    """Return how many trainings and evaluations of a config the cluster has room for, at least 1."""
    nodes, requests = nodes_of_cluster(), (config.resources.train, config.resources.evaluate)
    bounds = []
    for request in requests:
        room = sum(node.room(request) for node in nodes if node.takes(request))
        bounds.append(room // _fewest(request))
    cpus = max(_fewest(request) * request.num_cpus + _spare(request) for request in requests)
    bounds.append(int(_total(nodes, "CPU") // cpus))
    if config.student.accuracy_every_stages is not None:
        bounds += [
            int(_total(nodes, name) // amount)
            for name, amount in _training_and_answers(config.resources).items()
        ]
    return max(1, min(bounds))


def has_room_beside_training(resources: ResourcesConfig) -> bool:
    """Whether the cluster can hold one more actor of ``evaluate`` while all workers train."""
    nodes, wanted = nodes_of_cluster(), _training_and_answers(resources)
    is_placed = any(n.takes(resources.evaluate) and n.room(resources.evaluate) for n in nodes)
    return is_placed and all(_total(nodes, name) >= amount for name, amount in wanted.items())


def _training_and_answers(resources: ResourcesConfig) -> dict[str, float]:
    """Return what all workers of a training and one actor of ``evaluate`` take together."""
    train, one = _amounts(resources.train), _amounts(resources.evaluate)
    names = {**train, **one}
    num_workers = resources.train.num_workers
    return {name: num_workers * train.get(name, 0) + one.get(name, 0) for name in names}


def _total(nodes: Sequence[Node], name: str) -> float:
    return sum(node.resources.get(name, 0) for node in nodes)


def _no_accelerator(
    phase: str, request: Request, nodes: Sequence[Node], labelled: Sequence[Node]
) -> str:
    kind, known = request.accelerator_type, sorted(set().union(*(n.accelerators() for n in nodes)))
    if kind in known:
        there = sorted(set().union(*(node.accelerators() for node in labelled)))
        return (
            f"resources.{phase}: no node with {_pairs(request.labels)} has accelerator {kind}; they "
            f"have {', '.join(there) or 'none'}"
        )
    return (
        f"resources.{phase}.accelerator_type: unknown accelerator {kind}; the cluster has "
        f"{', '.join(known) or 'none'}"
    )


def _no_spare(phase: str, request: Request, nodes: Sequence[Node]) -> str | None:
    """Say whether the CPU is missing on which Ray Data reads and writes."""
    wanted = _fewest(request) * request.num_cpus + _spare(request)
    have = sum(node.resources.get("CPU", 0) for node in nodes)
    if wanted <= have:
        return None
    return (
        f"resources.{phase} needs {wanted:g} CPUs, one of them to read and write, the cluster has "
        f"{have:g}; ask for less or add nodes"
    )


def _spare(request: Request) -> int:
    return 1 if isinstance(request, ActorResources) else 0


def _process(request: Request) -> str:
    return "an actor" if isinstance(request, ActorResources) else "a worker"


def _fewest(request: Request) -> int:
    """Return the fewest actors or workers that a phase goes on with."""
    if isinstance(request, WorkerResources) and request.min_workers is not None:
        return request.min_workers
    return num_processes(request)


def _amounts(request: Request) -> dict[str, float]:
    """Return what one actor or worker takes."""
    gpus = {"GPU": request.num_gpus} if request.num_gpus else {}
    return {"CPU": request.num_cpus, **gpus}


def _largest(request: Request, nodes: Sequence[Node]) -> str:
    """Spell what the node has that comes nearest to an actor's or worker's needs."""
    names = _amounts(request)
    most = max(
        nodes, key=lambda n: min(n.resources.get(k, 0) / amount for k, amount in names.items())
    )
    return _spelt({name: most.resources.get(name, 0) for name in names})


def spelt(request: Request) -> str:
    """Say how many actors or workers of what size a phase has."""
    what = "actor" if isinstance(request, ActorResources) else "worker"
    count = num_processes(request)
    return (
        f"{count} {what}{'' if count == 1 else 's'} of {_spelt(_amounts(request))}{_where(request)}"
    )


def _spelt(amounts: Mapping[str, float]) -> str:
    return " and ".join(
        f"{amount:g} {name}{'' if amount == 1 else 's'}" for name, amount in amounts.items()
    )


def _where(request: Request) -> str:
    """Say what nodes are meant, after the word."""
    kind = [f"accelerator {request.accelerator_type}"] if request.accelerator_type else []
    told = " and ".join([*kind, *([_pairs(request.labels)] if request.labels else [])])
    return f" with {told}" if told else ""


def _pairs(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _known_labels(nodes: Sequence[Node]) -> str:
    pairs = {_pairs({k: v}) for node in nodes for k, v in given_labels(node.labels).items()}
    return ", ".join(sorted(pairs)) or "none (ray start --labels gives them)"
