"""Stream rows through a pool of actors, each row exactly once, however often the run dies.

The actors write each finished batch as one file of the artifact. A later call computes only the rows
whose ids are in no file. The dataset ends in the actors on purpose: a write operator of Ray Data would
run as normal tasks, which Ray Data cancels when a row fails or the user presses Ctrl-C, and `ray.cancel`
on a normal task can abort the driver (see `tasks.run_tasks`). Cancelling a call of an actor is safe, but
Ray Data also cancels the tasks which that call has started: the actors must not start normal tasks.

`kpod_ray.inference.generate` computes rows exactly once, too, but for rows that take long: Ray Data
streams references to requests, each row is written by itself, and an index on disk finds the finished
rows. In this module a row takes milliseconds, and all results fit into memory.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from kpod_ray.cluster import placement
from kpod_ray.config import ActorResources
from kpod_ray.storage.artifacts import Artifact
from kpod_ray.storage.store import Store

_NODE = "_node"
"""Column of the id of the node that a row was made on."""


@dataclasses.dataclass(frozen=True)
class ActorPool:
    """The class that computes the rows of a stream, and the resources of its actors."""

    actor: type
    """Class whose instances are called with a batch of requests and return the results: a `pa.Table`, or
    columns by name. The results have one row for each request, with the request's id."""
    arguments: dict[str, Any]
    """Keyword arguments of the class's constructor, of values that Ray can serialize. The constructor is
    called once in each actor, and again in a restarted actor."""
    resources: ActorResources
    """Resources of the actors; ``max_actors`` isn't used."""
    batch_size: int
    """Most requests in a batch."""
    batch_format: str = "numpy"
    """Form of a batch: ``numpy`` (arrays by column name) or ``pyarrow`` (a `pa.Table`)."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Further environment variables of the actors' processes."""


@dataclasses.dataclass(frozen=True)
class StreamResult:
    """The results of all requests of a stream."""

    table: pa.Table
    """One row for each request, in the order of the requests, with the columns of the results."""
    num_resumed: int
    """Number of rows that earlier, interrupted calls had finished."""
    nodes: frozenset[str]
    """Ray ids of the nodes on which the rows were computed, in this call and in earlier ones."""


class _WritingActor:
    """Calls an `ActorPool.actor` with batches; writes the results with the id of the actor's node."""

    def __init__(self, actor: type, arguments: dict[str, Any], store: Store, folder: str) -> None:
        self.actor, self.node = actor(**arguments), placement.own_node()
        self.store, self.folder = store, folder

    def __call__(self, batch: Any) -> dict[str, np.ndarray]:
        rows = self.actor(batch)
        table = rows if isinstance(rows, pa.Table) else pa.table(rows)
        table = table.append_column(_NODE, pa.array([self.node] * table.num_rows, pa.string()))
        self.store.add_part(self.folder, table)
        return {"num_rows": np.array([table.num_rows])}


def stream_rows(
    artifact: Artifact, name: str, requests: pa.Table, pool: ActorPool, id_column: str
) -> StreamResult:
    """Return the results of all requests; actors compute those that no earlier call has computed.

    Ray must be connected if a request is left to compute. Finished batches stay in the stream's files,
    also after an error, until `discard_stream`.

    Args:
        artifact: unfinished artifact whose folder ``<name>.parts`` holds the stream's files.
        name: name of the stream, unique in the artifact.
        requests: at least one row, with unique ids in ``id_column``, neither of which is checked. Later
            calls with the same artifact and name must have the same ids.
        pool: class that computes the results, and its resources.
        id_column: name of the id column in requests and results.

    Raises:
        RuntimeError: The files hold more or fewer ids than requested.
        RayError: A call of the class failed, or the actors didn't start in time.
    """
    folder = parts_folder(artifact, name)
    done = _finished_rows(artifact.store, folder, id_column)
    num_resumed = 0
    pending = requests
    if done is not None:
        num_resumed = done.num_rows
        pending = requests.filter(pc.invert(pc.is_in(requests[id_column], done[id_column])))
    if pending.num_rows:
        _execute(artifact.store, folder, pending, pool)
        done = _finished_rows(artifact.store, folder, id_column)
    if done is None or done.num_rows != requests.num_rows:
        found = 0 if done is None else done.num_rows
        raise RuntimeError(f"{name}: {requests.num_rows} rows asked for, {found} came back")
    order = pc.index_in(requests[id_column], done[id_column])
    table = done.take(order)
    nodes = frozenset(table[_NODE].drop_null().to_pylist())
    return StreamResult(table.drop_columns(_NODE), num_resumed, nodes)


def discard_stream(artifact: Artifact, name: str) -> None:
    """Delete a stream's files, after their rows were written elsewhere in the artifact.

    Without files nothing happens. A later `stream_rows` computes all rows again.
    """
    artifact.store.delete(parts_folder(artifact, name))


def parts_folder(artifact: Artifact, name: str) -> str:
    """Return the folder of a stream's files, relative to the store's root; the folder may not exist."""
    return f"{artifact.folder}/{name}.parts"


def _execute(store: Store, folder: str, pending: pa.Table, pool: ActorPool) -> None:
    resources = pool.resources
    starts = range(0, pending.num_rows, resources.rows_per_block)
    blocks = [pending.slice(start, resources.rows_per_block) for start in starts]
    written = ray.data.from_arrow(blocks).map_batches(
        _WritingActor,
        batch_size=pool.batch_size,
        batch_format=pool.batch_format,
        fn_constructor_kwargs={
            "actor": pool.actor,
            "arguments": pool.arguments,
            "store": store,
            "folder": folder,
        },
        compute=ray.data.ActorPoolStrategy(size=resources.num_actors),
        **placement.actor_options(resources, pool.environment),
    )
    for _ in written.iter_batches(batch_size=None):
        pass  # the actors return only row counts; the rows are in the files


def _finished_rows(store: Store, folder: str, id_column: str) -> pa.Table | None:
    """Return the rows of all files, each id once, or None if there are none; delete damaged files."""
    tables = []
    for file in store.files(folder):
        try:
            tables.append(store.read_table(f"{folder}/{file}"))
        except pa.ArrowInvalid:  # the file has no footer because the writer died
            store.delete(f"{folder}/{file}")
    if not tables:
        return None
    tables.append(pa.table({_NODE: pa.array([], pa.string())}))  # for files without the column
    table = pa.concat_tables(tables, promote_options="permissive")
    numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(id_column).aggregate([("row", "min")])["row_min"]
    return table.take(first.sort())
