"""`make house`: the picture of the package's floors, made from its imports, is put into docs/how-it-is-built.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "backprop_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
PAGE = CHECKOUT / "docs/how-it-is-built.md"
BEGIN, END = "<!-- made by `make house` -->\n", "<!-- end of the house -->\n"


def imports(path: Path) -> Iterator[str]:
    """Return every module that a file imports anywhere in it, with the names taken from a package of ours."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names if node.module and node.module.startswith("backprop_cli") else []:
                yield f"{node.module}.{alias.name}"
            yield node.module or ""


def room(path: Path) -> str:
    """Return the folder that a file lies in, or its own name where it lies in none."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms() -> dict[str, tuple[set[str], set[str]]]:
    """Return for each room the rooms and the packages that it imports."""
    names = {room(path) for path in FILES}
    found: dict[str, tuple[set[str], set[str]]] = {name: (set(), set()) for name in names}
    for path in FILES:
        ours, others = found[room(path)]
        for first, *rest in (name.split(".") for name in imports(path)):
            if first != "backprop_cli":
                others |= {first} - sys.stdlib_module_names
            elif rest:
                ours |= {rest[0]} & names - {room(path)}
    return found


def floors(below: dict[str, set[str]]) -> dict[str, int]:
    """Return how high each room lies: on the ground where it imports no other, else one above the highest of those.

    Raises:
        ValueError: Rooms import each other in a circle.
    """
    height: dict[str, int] = {}
    while len(height) < len(below):
        ready = [name for name in below if name not in height and below[name] <= height.keys()]
        if not ready:
            raise ValueError(f"a circle among {', '.join(sorted(below.keys() - height.keys()))}")
        height |= {name: 1 + max((height[other] for other in below[name]), default=-1) for name in ready}
    return height


def picture() -> str:
    """Return the floors as a block of text, the highest first."""
    found = rooms()
    height = floors({name: ours for name, (ours, _) in found.items()})
    blocks = []
    for name in sorted(found, key=lambda name: (-height[name], name)):
        ours, others = found[name]
        is_folder = (PACKAGE / name).is_dir()
        main = PACKAGE / name / "__init__.py" if is_folder else PACKAGE / f"{name}.py"
        told = (ast.get_docstring(ast.parse(main.read_text("utf-8"))) or "").partition("\n")[0]
        below = " ".join(sorted(ours, key=lambda other: (-height[other], other)))
        packages = f"[{' '.join(sorted(others))}]" if others else ""
        blocks += [f"{height[name]}  {f'{name}/' if is_folder else main.name:<14} {told}"]
        blocks += [f"{'':<18}{' '.join(filter(None, [below and f'on {below}', packages]))}".rstrip()]
    return "\n".join(filter(str.strip, blocks))


def with_house(page: str) -> str:
    """Return the page with the picture as it is now.

    Raises:
        ValueError: The page has no place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE}: the places of the picture are gone")
    return f"{before}{BEGIN}\n```text\n{picture()}\n```\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_house(PAGE.read_text("utf-8")), "utf-8")
