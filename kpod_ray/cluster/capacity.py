"""Check whether a cluster has the resources for a config, before a phase would wait for them.

All resources of live nodes count, whether in use or not.
"""

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
"""Prefix of the resource by which Ray says which accelerator a node has."""
_ROUNDING = 1e-6
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a Ray cluster."""

    resources: Mapping[str, float]
    """Total amount of each resource by Ray's name, such as ``CPU`` and ``GPU``, in use or not."""
    labels: Mapping[str, str]
    """Labels of the node, with those that Ray itself sets."""

    def accelerators(self) -> set[str]:
        """Return Ray's names of the node's accelerators, such as ``A100``; empty if there are none."""
        names = (name for name in self.resources if name.startswith(_ACCELERATOR))
        return {name.removeprefix(_ACCELERATOR) for name in names}

    def has(self, labels: Mapping[str, str]) -> bool:
        """Return whether the node has all these labels, with these values; True for no labels."""
        return all(self.labels.get(key) == value for key, value in labels.items())

    def takes(self, request: Request) -> bool:
        """Return whether the node has the labels and the accelerator that a phase requires.

        The amounts of CPUs and GPUs aren't compared (see `room`).
        """
        kind = request.accelerator_type
        return self.has(request.labels) and (kind is None or kind in self.accelerators())

    def room(self, request: Request) -> int:
        """Return how many actors or workers of a phase fit on the node if nothing else runs there.

        Only CPUs and GPUs are compared, not labels and accelerators (see `takes`).
        """
        shares = [
            self.resources.get(name, 0) / amount for name, amount in _amounts(request).items()
        ]
        return int(min(shares) + _ROUNDING)


def nodes_of_cluster() -> list[Node]:
    """Return the live nodes of the Ray cluster; this process must be connected to Ray."""
    return [Node(n["Resources"], n["Labels"]) for n in ray.nodes() if n["Alive"]]


def check_resources(config: RunConfig, artifacts: Iterable[str]) -> None:
    """Check that the cluster has the resources of every phase that makes one of the artifacts.

    Artifacts are named as in `phases_of`. Ray must be connected. Resources in use count as available.
    With ``resources.autoscaling`` a missing resource is logged as a warning and isn't an error.

    Raises:
        KpodError: The resources don't suffice for a phase; the message is that of `missing_capacity`.
    """
    nodes = nodes_of_cluster()
    for phase in phases_of(config, artifacts):
        message = missing_capacity(phase, getattr(config.resources, phase), nodes)
        if message and not config.resources.autoscaling:
            raise KpodError(message)
        if message:
            logger.warning("%s; waiting until the cluster grows", message)


def phases_of(config: RunConfig, artifacts: Iterable[str]) -> list[str]:
    """Return the groups of ``resources`` that are needed to make artifacts.

    Args:
        config: config of the run; a teacher or weighting that uses no actors needs no group.
        artifacts: names of artifacts such as ``teacher``, ``weigh``, ``assess``, ``train``,
            ``evaluate_before`` and ``evaluate_also``; other artifacts need no group.

    Returns:
        Names of fields of `ResourcesConfig`, such as ``weighting`` and ``apply_weighter``, each once, in
        the order of the artifacts that need them.
    """
    phases = {
        "teacher": list(config.teacher.resource_groups),
        "weigh": list(config.weighting.resource_groups) if config.weighting else [],
        "assess": ["assess"],
        "train": ["train"],
        "evaluate_before": ["evaluate"],
        "evaluate": ["evaluate"],
        "evaluate_also_before": ["evaluate"],
        "evaluate_also": ["evaluate"],
    }
    return list(dict.fromkeys(phase for name in artifacts for phase in phases.get(name, [])))


def missing_capacity(phase: str, request: Request, nodes: Sequence[Node]) -> str | None:
    """Return one line that says what a cluster lacks for a phase; None if the phase fits.

    ``phase`` is the name of the group in ``resources``, ``nodes`` are all live nodes of the cluster. The
    labels, the accelerator, the size of one actor or worker, and the number of all actors
    (``num_actors``) or workers (``min_workers`` if set, else ``num_workers``) are checked. Actors also
    need one CPU beside them for Ray Data. Resources in use count as available.
    """
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
            f"resources.{phase}: {what} needs {listed(_amounts(request))} on one node, the largest "
            f"node{_where(request)} has {_largest(request, fitting)}; ask for less or add larger nodes"
        )
    wanted, room = _fewest(request), sum(node.room(request) for node in fitting)
    if wanted > room:
        return (
            f"resources.{phase} needs {wanted} times {listed(_amounts(request))}, the cluster has "
            f"room for {room} of them{_where(request)}; ask for less or add nodes"
        )
    return _no_spare(phase, request, nodes)


def num_concurrent(config: RunConfig) -> int:
    """Return the number of trainings or of evaluations, whichever is smaller, that fit at once.

    The result is at least 1. Ray must be connected; resources in use count as available. A training
    takes the fewest workers with which it continues (``min_workers``, or else ``num_workers``), an
    evaluation all its actors and one CPU for Ray Data. With ``student.accuracy_every_stages``, a
    training takes all its workers and one actor of ``evaluate``.
    """
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
    """Return whether one actor of ``evaluate`` fits on the cluster beside all workers of ``train``.

    Ray must be connected. Resources in use count as available. The sums over all nodes are compared, and
    one node must fit the actor.
    """
    nodes, wanted = nodes_of_cluster(), _training_and_answers(resources)
    is_placed = any(n.takes(resources.evaluate) and n.room(resources.evaluate) for n in nodes)
    return is_placed and all(_total(nodes, name) >= amount for name, amount in wanted.items())


def _training_and_answers(resources: ResourcesConfig) -> dict[str, float]:
    """Return the amounts that all workers of a training and one actor of ``evaluate`` take, by name."""
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
    """Return a line if the CPU is missing on which Ray Data reads and writes, else None."""
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
    """Return the fewest actors or workers with which a phase runs."""
    if isinstance(request, WorkerResources) and request.min_workers is not None:
        return request.min_workers
    return num_processes(request)


def _amounts(request: Request) -> dict[str, float]:
    """Return the amounts that one actor or worker takes, by Ray's name of the resource."""
    gpus = {"GPU": request.num_gpus} if request.num_gpus else {}
    return {"CPU": request.num_cpus, **gpus}


def _largest(request: Request, nodes: Sequence[Node]) -> str:
    """Return, in words, the amounts of the node that comes nearest to the request."""
    names = _amounts(request)
    most = max(
        nodes, key=lambda n: min(n.resources.get(k, 0) / amount for k, amount in names.items())
    )
    return listed({name: most.resources.get(name, 0) for name in names})


def request_text(request: Request) -> str:
    """Return a phrase with number, size and nodes of a phase's processes: "2 actors of 1 CPU".

    The phrase ends with the required accelerator and labels, if any: "1 worker of 2 CPUs and 1 GPU with
    accelerator A100 and group=student".
    """
    what = "actor" if isinstance(request, ActorResources) else "worker"
    count = num_processes(request)
    return (
        f"{count} {what}{'' if count == 1 else 's'} of {listed(_amounts(request))}{_where(request)}"
    )


def listed(amounts: Mapping[str, float]) -> str:
    """Return amounts of resources in words: ``4 CPUs and 1 GPU``."""
    return " and ".join(
        f"{amount:g} {name}{'' if amount == 1 else 's'}" for name, amount in amounts.items()
    )


def _where(request: Request) -> str:
    """Return " with" and the accelerator and labels that nodes must have; empty if neither is set."""
    kind = [f"accelerator {request.accelerator_type}"] if request.accelerator_type else []
    message = " and ".join([*kind, *([_pairs(request.labels)] if request.labels else [])])
    return f" with {message}" if message else ""


def _pairs(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _known_labels(nodes: Sequence[Node]) -> str:
    pairs = {_pairs({k: v}) for node in nodes for k, v in given_labels(node.labels).items()}
    return ", ".join(sorted(pairs)) or "none (ray start --labels gives them)"
