"""Refuse Parquet files whose values would be unpickled when they are read.

Ray Data registers Arrow extension types with pyarrow. In a process that has imported Ray Data, a file
can declare a column of pickled objects, and reading a value of the column runs the code in it.
"""

from __future__ import annotations

import pyarrow as pa

from kpod_ray.errors import KpodError


def check_plain(schema: pa.Schema, path: str) -> None:
    """Raise a `KpodError` if a column of the file at ``path`` has or nests an extension type.

    Arrow's own types, whose names start with ``arrow.``, are allowed: their values are plain data.
    """
    for field in schema:
        name = _extension_name(field.type)
        if name:
            raise KpodError(
                f"{path}: column {field.name} has the type {name!r}, whose values may hold code; "
                "write the file with plain columns"
            )


def _extension_name(kind: pa.DataType) -> str:
    """Return the name of a foreign extension type in a type, or an empty text."""
    if isinstance(kind, pa.BaseExtensionType):
        name = str(kind.extension_name)
        return _extension_name(kind.storage_type) if name.startswith("arrow.") else name
    if pa.types.is_dictionary(kind):
        return _extension_name(kind.value_type)
    inner = (_extension_name(kind.field(i).type) for i in range(kind.num_fields))
    return next(filter(None, inner), "")
