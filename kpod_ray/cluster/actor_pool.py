"""Stream rows through a pool of actors, each row exactly once, however often the run dies.

The actors write what they finish, one file a batch. A later call does only the rows whose ids are in
no file. The dataset ends in the actors on purpose: a write operator of Ray Data would run as normal
tasks, which Ray Data cancels when a row fails or the user presses Ctrl-C, and `ray.cancel` on a normal
task can abort the driver (see `tasks`). Cancelling a call of an actor is safe, but Ray Data also
cancels the tasks which that call has started: the actors must not start normal tasks.

`kpod_ray.inference.generate` is the other stream of rows that are made exactly once, for rows that take
long and cost money. Both give actors the same options and let them write parts of their own
(`Store.add_part`). Here, a row of any table takes milliseconds: the rows themselves stream, a batch is
written when it is finished, and all results fit into memory, so that a table finds the finished rows.
There, a row waits for a service beside hundreds of others: places of requests stream, a finished row
is written while its block is under way, a row that kills its engine is found, and an index on disk
finds the finished rows of millions.
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
from kpod_ray.storage.artifacts import Artifact, Store

_NODE = "_node"
"""Column of the id of the node that a row was made on."""


@dataclasses.dataclass(frozen=True)
class ActorPool:
    """What runs on the rows of a stream, and where."""

    actor: type
    """Class whose instances turn a batch of request columns into result columns with the id."""
    arguments: dict[str, Any]
    """Its constructor's arguments; plain values, since a restarted actor gets them again."""
    resources: ActorResources
    batch_size: int
    batch_format: str = "numpy"
    """``numpy`` or ``pyarrow``: what a batch is."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    """Environment variables of the actors' processes."""


@dataclasses.dataclass(frozen=True)
class StreamResult:
    """All rows asked for, in the order of the requests."""

    table: pa.Table
    num_resumed: int
    """Rows that an earlier, interrupted call had finished."""
    nodes: frozenset[str]
    """Ids of the nodes that the rows were made on, in this call and in earlier ones."""


class _WritingActor:
    """Runs an actor's class on batches, and writes the rows with the node that they were made on."""

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
    """Run every request through the pool and return the results.

    Args:
        artifact: where finished rows are kept between calls.
        name: of the stream inside the artifact.
        requests: rows with unique ids in ``id_column``.
        pool: what to run.
        id_column: name of the id column in requests and results.

    Raises:
        RuntimeError: The pool returned other rows than it was asked for.
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
    """Delete a stream's rows, once their content stands elsewhere in the artifact."""
    artifact.store.delete(parts_folder(artifact, name))


def parts_folder(artifact: Artifact, name: str) -> str:
    """Return the folder of a stream's files, relative to the store's root."""
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
    """Read the rows written so far, each id once; delete files that were left unfinished."""
    tables = []
    for file in store.files(folder):
        try:
            tables.append(store.read_table(f"{folder}/{file}"))
        except pa.ArrowInvalid:  # no footer: its writer died
            store.delete(f"{folder}/{file}")
    if not tables:
        return None
    tables.append(pa.table({_NODE: pa.array([], pa.string())}))  # rows of before have no node
    table = pa.concat_tables(tables, promote_options="permissive")
    numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    first = numbered.group_by(id_column).aggregate([("row", "min")])["row_min"]
    return table.take(first.sort())
