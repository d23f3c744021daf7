"""Who may import whom (design: imports point down), what is never used, and what each command may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CHECKOUT, SAMPLES, environment
from house import FILES, PACKAGE, PAGE, floors, imports, room, with_house

from backprop_cli.cli.app import COMMANDS

FLOOR = {"arrays", "blas", "files", "errors"}
# A room or file -> the rooms and files below it, and the packages it may use beside the standard library.
RULES: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "svg": (set(), set()),
    "notebook": ({"svg", "files"}, set()),
    "arrays": (set(), {"numpy"}),
    "files": ({"errors"}, set()),
    "blas": ({"errors"}, {"numpy", "threadpoolctl"}),
    "engine": ({"errors", "arrays"}, {"numpy"}),
    "insight": ({"engine", "errors", "arrays"}, {"numpy"}),
    "data": ({"errors", "files", "arrays", "blas"}, {"numpy", "PIL", "scipy", "sklearn", "pillow_heif"}),
    "data/sources": (
        {"errors", "files"},
        {"pydantic", "numpy"},
    ),  # pydantic is told which kind augment is
    "store": ({"errors", "files"}, {"numpy", "safetensors", "pydantic_core"}),
    "config": ({"engine", "data", "files", "errors"}, {"yaml", "pydantic"}),
    "experiment": (
        {"config", "predictor", "engine", "data", "store", "insight"} | FLOOR,
        {"numpy"},
    ),
    "predictor": ({"arrays", "store", "engine", "data", "blas", "errors"}, {"numpy"}),
    "estimator": ({"engine", "data", "insight", "errors", "arrays", "blas"}, {"numpy", "sklearn"}),
    "exporters": ({"predictor", "engine", "errors", "arrays"}, {"numpy", "onnx"}),
    "api": (
        {"experiment", "exporters", "predictor", "config", "insight", "engine", "data", "store", "notebook"} | FLOOR,
        {"numpy", "PIL"},
    ),
    "page": ({"api", "svg", "errors", "files"}, set()),
    "cli": ({"page", "api", "config", "errors", "files"}, {"typer", "rich"}),
    "__main__": ({"cli"}, set()),
    "__init__": ({"api", "config", "errors"}, set()),
}
# Inside the engine, in reading order: each imports only from those before it.
ENGINE = [
    "activations",
    "losses",
    "layers",
    "network",
    "optimizers",
    "schedules",
    "minibatches",
    "training_state",
    "steering",
    "training",
    "blind",
    "gradient_check",
]
PRINTS = {"cli", "estimator"}  # the latter where its `verbose` asks for it
FORBIDDEN = {"pickle", "joblib", "click", "marshal", "shelve", "dill", "cloudpickle"}
SEEDED = {"np.random.default_rng", "np.random.Generator", "np.random.PCG64", "np.random.SeedSequence"}


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    below, packages = RULES.get(str(path.relative_to(PACKAGE).with_suffix("")), RULES[room(path)])
    for name in imports(path):
        first, *rest = name.split(".")
        if first == "backprop_cli":
            assert not rest or rest[0] in below | {room(path), "__version__"}, f"{path} imports {name}"
        else:
            assert first in sys.stdlib_module_names | packages, f"{path} imports {name}"
            assert first not in FORBIDDEN, f"{path} imports {name}"


def test_the_picture_of_the_house_is_as_it_is_built() -> None:
    page = PAGE.read_text("utf-8")
    assert with_house(page) == page, "`make house` draws it anew"


def test_rooms_in_a_circle_are_no_house() -> None:
    assert floors({"a": {"b"}, "b": set(), "c": {"a", "b"}}) == {"b": 0, "a": 1, "c": 2}
    with pytest.raises(ValueError, match="a circle among a, b"):
        floors({"a": {"b"}, "b": {"a"}, "c": set()})


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "engine"], ids=lambda path: path.stem)
def test_the_engine_is_read_from_top_to_bottom(path: Path) -> None:
    before = ENGINE[: ENGINE.index(path.stem)] if path.stem != "__init__" else []
    ours = {name.split(".")[2] for name in imports(path) if name.startswith("backprop_cli.engine.")}
    assert ours <= set(before)


@pytest.mark.parametrize("room_name", ["engine", "insight"])
def test_the_engine_and_insight_take_no_files_and_print_nothing(room_name: str) -> None:
    for path in FILES:
        if room(path) == room_name:
            assert not {"os", "pathlib", "io", "sys", "logging", "json"} & {n.split(".")[0] for n in imports(path)}


def calls(path: Path) -> Iterator[tuple[str, set[str | None]]]:
    """Return what a file calls, as text, with the names of the keywords."""
    for node in nodes(path):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {word.arg for word in node.keywords if ast.unparse(word.value) != "False"}


def test_nothing_unpickles_evaluates_or_prints() -> None:
    for path in FILES:
        for name, keywords in calls(path):
            assert name not in {"eval", "exec", "compile", "__import__", "breakpoint"}, f"{path}: {name}"
            assert name != "print" or room(path) in PRINTS, f"{path}: {name}"
            assert name not in {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"}, f"{path}: {name}"
            assert "allow_pickle" not in keywords, f"{path}: {name}(allow_pickle=...)"
            assert not name.endswith(("sys.stdout.write", "sys.stderr.write", "warnings.warn")), f"{path}: {name}"
            assert not name.startswith("np.random.") or name.partition("(")[0] in SEEDED, f"{path}: {name}"


def certainly_set(statements: list[ast.stmt]) -> set[str]:
    """Return the attributes of `self` that statements set whichever way they take, and the methods of it they call."""
    found: set[str] = set()
    for statement in statements:
        if isinstance(statement, ast.If):
            found |= certainly_set(statement.body) & certainly_set(statement.orelse)
        elif isinstance(statement, ast.With | ast.Try):  # what fails makes no object
            found |= certainly_set(statement.body)
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr):
            found |= attributes_of_self(statement)
    return found


def attributes_of_self(node: ast.AST, *contexts: type[ast.expr_context]) -> set[str]:
    return {
        name.attr
        for name in ast.walk(node)
        if isinstance(name, ast.Attribute)
        and isinstance(name.value, ast.Name)
        and name.value.id == "self"
        and isinstance(name.ctx, contexts or ast.expr_context)
    }


def class_variables(owner: ast.ClassDef) -> set[str]:
    return {
        name.id
        for statement in owner.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for name in ast.walk(statement)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }


def test_objects_are_whole_when_they_are_made() -> None:
    """No method sets an attribute that `__init__` leaves out, or sets on one way only."""
    for path in FILES:
        for owner in nodes(path):
            if isinstance(owner, ast.ClassDef):
                methods = {part.name: part.body for part in owner.body if isinstance(part, ast.FunctionDef)}
                whole = class_variables(owner) | certainly_set(methods.get("__init__", []))
                for name in whole & methods.keys():
                    whole |= certainly_set(methods[name])
                late = attributes_of_self(owner, ast.Store) - whole
                assert not late, f"{path}: {owner.name} sets {', '.join(sorted(late))} late"


def test_modules_are_only_imported_by_name_where_the_names_are_ours() -> None:
    found = {
        str(path.relative_to(PACKAGE)) for path in FILES for name, _ in calls(path) if name.endswith("import_module")
    }
    assert found <= {"__init__.py", "cli/app.py", "data/sources.py"}  # from their tables of names


SPEAKS_OF_OPTIONS = re.compile(
    rf"(?<![\w-])--[a-z]|backprop ({'|'.join(COMMANDS)})\b|<(?:/|div|span|table|svg|br|p>|b>|a )"
)


FACES = {"cli", "page", "svg", "notebook"}


@pytest.mark.parametrize("path", [path for path in FILES if room(path) not in FACES], ids=lambda path: path.stem)
def test_below_the_commands_nobody_speaks_of_options_commands_or_html(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not SPEAKS_OF_OPTIONS.search(node.value), f"{path}:{node.lineno}: {node.value[:80]}"


def test_what_speaks_of_options_is_found() -> None:
    for text in ("see --folds", "--set a=b", "run `backprop train` first", "<b>bold</b>"):
        assert SPEAKS_OF_OPTIONS.search(text)
    for text in ("1e-3", "a well-kept way", "1 - a", "-ln(a)", "<Model latest>", "backprop.predict/1"):
        assert not SPEAKS_OF_OPTIONS.search(text)


# ---- what a command loads ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded_by_numpy() -> set[str]:
    return loaded("-c", "import numpy", cwd=CHECKOUT)


def loaded(*args: str, cwd: Path) -> set[str]:
    """Return the modules that a Python process imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *args], cwd=cwd, env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines}


@pytest.mark.parametrize(
    ("command", "never"),
    [
        (["--help"], {"numpy", "sklearn", "pydantic", "scipy", "yaml", "rich.progress", "PIL", "safetensors"}),
        (["--version"], {"numpy", "sklearn", "pydantic", "scipy", "yaml", "rich.progress", "PIL", "safetensors"}),
        (["export", "--help"], {"numpy", "sklearn", "scipy", "yaml", "rich.progress", "PIL", "safetensors", "onnx"}),
        (["export", "-o", "model.npz", "--force"], {"sklearn", "scipy", "numpy.random", "yaml", "PIL", "onnx"}),
        (["train", "--help"], {"numpy", "sklearn", "scipy", "yaml", "rich.progress", "PIL", "safetensors"}),
        (["config", "schema"], {"sklearn", "scipy", "PIL", "rich.progress", "safetensors"}),
        (["runs"], {"sklearn", "scipy", "numpy", "yaml", "PIL"}),
        (["train", "-c", "quick", "--epochs", "1", "--dry-run"], {"sklearn", "scipy", "PIL", "rich.progress"}),
        (["eval"], {"sklearn", "scipy", "PIL", "rich.progress"}),
        (["predict", "digits:3"], {"sklearn", "scipy", "numpy.random", "yaml", "PIL", "rich.progress"}),
        (["predict", str(SAMPLES / "1-1416.png")], {"sklearn", "scipy", "numpy.random", "yaml", "rich.progress"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_loads_only_what_it_needs(
    trained: Path, loaded_by_numpy: set[str], command: list[str], never: set[str]
) -> None:
    found = loaded("-m", "backprop_cli", *command, cwd=trained)
    assert "backprop_cli.cli.app" in found
    allowed = loaded_by_numpy - {"numpy"} if "numpy" in found else set()
    assert not (found - allowed) & never


def test_training_does_not_load_sklearn_or_scipy(work: Path) -> None:
    found = loaded("-m", "backprop_cli", "train", "--epochs", "1", cwd=work)
    assert "backprop_cli.engine.training" in found
    assert not found & {"sklearn", "scipy", "PIL", "rich.progress"}
