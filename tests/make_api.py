"""`make api`: the public names of the package as pages, in a folder."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from contextlib import suppress
from pathlib import Path
from typing import Any

import pdoc

import backprop_cli


def resolve_annotations(record: Any) -> None:
    """Give a record's `__init__` its types: pdoc would look for them where the record is imported to."""
    names: dict[str, Any] = {}
    for owner in reversed(record.__mro__[:-1]):  # a base's fields are named as in its own module
        module = sys.modules[owner.__module__]
        names |= vars(module)
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                for line in node.body:
                    with suppress(ImportError):  # an alias that its own module has for type checkers only
                        exec(ast.unparse(line), names)
    record.__init__.__annotations__ = typing.get_type_hints(record.__init__, names)


if __name__ == "__main__":
    for name in backprop_cli.__all__:
        if hasattr(public := getattr(backprop_cli, name), "__dataclass_fields__"):
            resolve_annotations(public)
    pdoc.render.configure(docformat="google", show_source=False)
    pdoc.pdoc("backprop_cli", output_directory=Path(sys.argv[1]))
