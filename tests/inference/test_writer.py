import asyncio

import pytest

from kpod_ray.inference.completions import CompletionIndex
from kpod_ray.inference.records import Completion
from kpod_ray.inference.writer import CompletionWriter
from kpod_ray.storage.store import Store


def completion(number):
    return Completion(f"{number:024d}", f"text {number}", "stop", number, 2, -0.5 * number)


def keep(store, rows, num_rows, flush=True):
    """Write rows by a journal; return what it told of files."""
    told = []

    async def on_written(part, ids):
        told.append((part, ids))

    async def main():
        writer = CompletionWriter(store, "parts", "run", num_rows, on_written)
        await asyncio.gather(*(writer.add(row) for row in rows))
        if flush:
            await writer.flush()

    asyncio.run(main())
    return told


def test_every_row_is_in_one_file_and_told_of_after_it_is_there(tmp_path):
    store, rows = Store.open(str(tmp_path)), [completion(i) for i in range(23)]
    told = keep(store, rows, 5)
    assert sorted(part for part, _ in told) == store.files("parts")
    assert sorted(i for _, ids in told for i in ids) == [row.id for row in rows]
    index = CompletionIndex(store, "parts")
    assert index.find([row.id for row in rows]) == rows


def test_what_a_death_costs_is_less_than_a_file(tmp_path):
    store, rows = Store.open(str(tmp_path)), [completion(i) for i in range(23)]
    told = keep(store, rows, 5, flush=False)
    assert len(rows) - sum(len(ids) for _, ids in told) < 5


def test_a_row_does_not_wait_for_ever(tmp_path):
    store, told = Store.open(str(tmp_path)), []

    async def on_written(part, ids):
        told.extend(ids)

    async def main():
        writer = CompletionWriter(store, "parts", "run", 100, on_written, max_seconds=0.05)
        await writer.add(completion(1))
        await asyncio.sleep(0.5)
        await writer.add(completion(2))
        await asyncio.sleep(0.5)

    asyncio.run(main())
    assert told == [completion(1).id, completion(2).id]


def test_files_are_written_while_nobody_listens_and_rows_wait_until_they_are_told_of(tmp_path):
    store = Store.open(str(tmp_path))

    async def main():
        listens = asyncio.Event()

        async def on_written(part, ids):
            await listens.wait()

        writer = CompletionWriter(store, "parts", "run", 2, on_written)
        adding = [asyncio.create_task(writer.add(completion(i))) for i in range(6)]
        await asyncio.sleep(0.5)
        assert len(CompletionIndex(store, "parts")) == 6
        assert not adding[1].done()  # it filled the first file
        listens.set()
        await asyncio.gather(*adding)

    asyncio.run(main())


def test_a_file_that_cannot_be_written_is_an_error_of_the_next_call(tmp_path):
    store = Store.open(str(tmp_path))
    (tmp_path / "parts").write_text("a file where the folder should be")

    async def on_written(part, ids):
        raise AssertionError

    async def main():
        writer = CompletionWriter(store, "parts", "run", 100, on_written, max_seconds=0.01)
        await writer.add(completion(1))
        await asyncio.sleep(0.3)
        await writer.flush()

    with pytest.raises(OSError, match="parts"):
        asyncio.run(main())
