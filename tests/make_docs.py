"""`make docs`: pages made from the program itself: docs/config.md, docs/commands.md, and the keys that Tab offers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
import yaml
from typer.core import TyperGroup

from backprop_cli.cli.app import app
from backprop_cli.config.config import bundled_folder
from backprop_cli.config.keys import LIST
from backprop_cli.config.schema import json_schema

CHECKOUT = Path(__file__).parents[1]
NOTE = "<!-- made by `make docs`: change the program, not this page -->\n"

# ---- the keys of a config ------------------------------------------------------------------------------------------

# What a key is shown with, where the bundled configs and the choices say nothing better.
EXAMPLES = {
    "name": "mine",
    "seed": "7",
    "ensemble": "5",
    "calibration": "temperature",
    "calibration.temperature": "0.8",
    "calibration.unsure": "0.7",
    "data.source": "digits.npz",
    "data.test_source": "test.npz",
    "data.split_seed": "3",
    "data.validation_size": "0.15",
    "data.test_size": "0.25",
    "data.max_value": "255",
    "data.picture": "16x16",
    "data.transpose": "true",
    "data.classes": '{10: "0"}',
    "data.label": "last",
    "data.extra": "pens",
    "data.extra[].source": "pens",
    "data.extra[].share": "0.4",
    "data.extra[].kinds": "[normalized, even_stroke]",
    "data.augment": "{kind: warps, rotation: 12}",
    "data.augment.shift": "0.5",
    "data.augment.gamma": "0.1",
    "data.augment.noise": "0.05",
    "network.layers": "[64,32]",
    "network.layers[].units": "128",
    "optimizer.learning_rate": "1e-2",
    "optimizer.momentum": "0.9",
    "optimizer.nesterov": "true, momentum: 0.9",
    "optimizer.decay": "0.95",
    "optimizer.beta1": "0.85",
    "optimizer.beta2": "0.99",
    "optimizer.eps": "1e-6",
    "schedule.warmup": "0.2",
    "schedule.every": "0.25",
    "schedule.gamma": "0.5",
    "training.epochs": "100",
    "training.early_stopping": "10",
    "training.early_stopping.patience": "20",
    "training.early_stopping.min_delta": "1e-3",
    "training.threads": "2",
}


@dataclass
class Key:
    """One key: what it may be, its default and its meaning, each by the kinds of its section that have it."""

    path: str
    schemas: dict[str, dict[str, Any]]
    all_kinds: tuple[str, ...] = ()
    default_kind: str | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def schema(self) -> dict[str, Any]:
        return next(iter(self.schemas.values()))

    @property
    def tag(self) -> str | None:
        """What chooses the kind in its section; None where there are none."""
        return "kind" if self.path.startswith("data.augment.") else "name" if self.all_kinds else None

    @property
    def chooses_kind(self) -> bool:
        return self.name == self.tag

    @property
    def choices(self) -> list[str]:
        if self.chooses_kind:
            return list(self.all_kinds)
        return [choice for part in parts(self.schema) for choice in choices_in(part)]

    @property
    def is_nullable(self) -> bool:
        return any(part.get("type") == "null" for part in parts(self.schema))

    def example(self) -> str:
        """Return the value that it is shown with."""
        if self.path in EXAMPLES:
            return EXAMPLES[self.path]
        if self.chooses_kind:
            return next(kind for kind in self.all_kinds if kind != self.default_kind)
        defaults = [schema.get("default") for schema in self.schemas.values()]
        for path in sorted(bundled_folder().glob("*.yaml")):
            for value in values_at(yaml.safe_load(path.read_text("utf-8")), re.split(r"\.|(?=\[\])", self.path)):
                if value not in defaults and not isinstance(value, dict):
                    return written(value)
        others = [choice for choice in self.choices if choice not in defaults]
        return next(iter(others), written(defaults[0]))

    def setting(self) -> str:
        """Return an example as it stands behind `--set`, with the kind that it needs where not every kind has it."""
        section, _, name = self.path.rpartition(".")
        tag, kind, value = self.tag, next(iter(self.schemas)), self.example()
        if section == "data.extra[]":
            return f"data.extra=[{{{'source: pens, ' * (name != 'source')}{name}: {value}}}]"
        if self.chooses_kind:
            return f"{section}={value}"
        if len(self.schemas) < len(self.all_kinds):
            return f"{section}={{{tag}: {kind}, {name}: {value}}}"
        return f"{self.path.replace('[]', '[0]')}={value}"


@dataclass
class Section:
    """A mapping of settings, perhaps of several kinds."""

    path: str
    about: str
    kinds: dict[str, str]
    keys: list[Key]
    is_list: bool


def parts(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives of a schema."""
    return schema.get("anyOf", [schema])


def choices_in(part: dict[str, Any]) -> list[str]:
    """Return what an alternative chooses from; nothing where it may be anything of its type."""
    if part.get("type") == "boolean":
        return ["true", "false"]
    words = [part["const"]] if "const" in part else part.get("enum", part.get("items", {}).get("enum", []))
    return [*map(written, words), *kinds_of(part)]


def kinds_of(schema: dict[str, Any]) -> list[str]:
    """Return the kinds of a section, in their order."""
    for part in parts(schema):
        if "discriminator" in part:
            names = {ref: name for name, ref in part["discriminator"]["mapping"].items()}
            return [names[one["$ref"]] for one in part["oneOf"]]
    return []


def settings_in(schema: dict[str, Any], root: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the mappings that a key may hold, by kind (or under an empty name), and whether in a list."""
    for part in parts(schema):
        inner = part.get("items", part)
        refs = [one["$ref"] for one in inner.get("oneOf", [inner]) if "$ref" in one]
        if refs:
            found = [root["$defs"][ref.rpartition("/")[2]] for ref in refs]
            return dict(zip(kinds_of(part) or [""], found, strict=True)), "items" in part
    return {}, False


def sections(root: dict[str, Any]) -> Iterator[Section]:
    """Walk through all sections of a config, each before those inside it; the first has what stands outside of any."""
    plain = {name: schema for name, schema in root["properties"].items() if not settings_in(schema, root)[0]}
    yield Section(
        "", root["description"], {}, [Key(name, {"": schema}) for name, schema in plain.items()], is_list=False
    )
    for name, schema in root["properties"].items():
        yield from sections_at(name, schema, root)


def sections_at(path: str, schema: dict[str, Any], root: dict[str, Any]) -> Iterator[Section]:
    by_kind, is_list = settings_in(schema, root)
    if not by_kind:
        return
    kinds = tuple(filter(None, by_kind))
    usual = next((kind for kind in kinds if not by_kind[kind].get("required")), None)
    keys: dict[str, Key] = {}
    for kind, settings in by_kind.items():
        for name, inner in settings["properties"].items():
            keys.setdefault(name, Key(f"{path}{'[]' * is_list}.{name}", {}, kinds, usual)).schemas[kind] = inner
    order = sorted(keys.values(), key=lambda key: not key.chooses_kind)  # what chooses the kind comes first
    about = next(iter(by_kind.values()))["description"] if is_list else schema["description"]
    yield Section(path, about, {kind: by_kind[kind]["description"] for kind in kinds}, order, is_list)
    for key in order:
        for inner in key.schemas.values():
            yield from sections_at(key.path, inner, root)


def values_at(data: Any, path: list[str]) -> Iterator[Any]:
    """Walk to what plain data has at a path; `[]` stands for every entry of a list."""
    if not path:
        yield data
    elif path[0] == "[]":
        for one in data if isinstance(data, list) else []:
            yield from values_at(one, path[1:])
    elif isinstance(data, dict) and path[0] in data:
        yield from values_at(data[path[0]], path[1:])


def written(value: Any) -> str:
    """Return a value as one writes it in YAML."""
    if isinstance(value, float):
        return re.sub(r"e([+-])0", r"e\1", f"{value:g}")
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {written(one)}' for key, one in value.items())}}}"
    return value if isinstance(value, str) else json.dumps(value)


_TYPES = {"integer": "a whole number", "number": "a number", "string": "text", "object": "a mapping", "null": "null"}


def takes(key: Key) -> str:
    """Return what a key may be, in words."""
    if key.chooses_kind:
        return as_choices(key.choices)
    return ", or ".join(map(taken, parts(key.schema)))


def taken(part: dict[str, Any]) -> str:
    """Return what one alternative of a key is."""
    choices = as_choices(choices_in(part))
    if part.get("type") == "array":
        return f"a list of {choices or ('mappings' if '$ref' in part['items'] else 'texts')}"
    return choices or ("a mapping" if "$ref" in part else _TYPES.get(part.get("type", ""), "anything"))


def as_choices(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def default(key: Key) -> str:
    """Return the default, or one for each kind where they differ."""
    if key.chooses_kind:
        return f"`{key.default_kind}`"
    found = {
        kind: f"`{written(schema['default'])}`" if "default" in schema else "none: it is needed"
        for kind, schema in key.schemas.items()
    }
    values = list(found.values())
    usual = max(values, key=values.count)
    return ", ".join([usual, *(f"of `{kind}` {value}" for kind, value in found.items() if value != usual)])


def meaning(key: Key) -> str:
    """Return what a key does, with the kinds that have it."""
    if key.chooses_kind:
        return "Which kind."
    by_text: dict[str, list[str]] = {}
    for kind, schema in key.schemas.items():
        by_text.setdefault(schema.get("description", ""), []).append(kind)
    if len(by_text) == 1 and len(key.schemas) == max(1, len(key.all_kinds)):
        return next(iter(by_text))
    return " ".join(f"Of {listed(kinds)}: {text[:1].lower()}{text[1:]}" for text, kinds in by_text.items())


def listed(names: list[str]) -> str:
    """Return names as a list in a sentence."""
    *others, last = (f"`{name}`" for name in names)
    return f"{', '.join(others)} and {last}" if others else last


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table of Markdown."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


CONFIG_HEAD = f"""{NOTE}
# Configs: every key

A config is a YAML file that says everything that decides what a training computes. A key that is left out takes its
default; `backprop config show NAME` writes all of them out, `backprop config validate FILE` names every mistake with
its line, and `backprop config schema > backprop.schema.json` lets an editor complete and check keys. This is the config
that `backprop train` takes where none is named:

```yaml
{{digits}}```

Any key can be changed for one run. The examples below stand behind `--set`, in quotes where they hold a blank:

```console
$ backprop train --set optimizer.learning_rate=1e-2 --set "optimizer={{{{name: sgd, momentum: 0.9}}}}"
```

Flags win over `--set`, `--set` over the file, the file over defaults. Unknown keys and duplicate keys are
errors, with the key that was perhaps meant. `1e-3` is a number; names may be written with other capitals, dashes or
underlines. Relative paths are relative to the config's file, else to the working directory. Short forms are spelled out
before anything is checked:

{{short}}
"""
SHORT = [
    ("`optimizer: adam`", "`optimizer: {name: adam}`; so for every section that has kinds"),
    ("`layers: [64, 32]`", "`layers: [{units: 64}, {units: 32}]`"),
    ("`early_stopping: 5`", "`early_stopping: {patience: 5}`"),
    ("`extra: pens`", "`extra: [{source: pens}]`"),
    ("`calibration: temperature`", "`calibration: {temperature: null}`"),
    ("`schedule: cosine`", "`schedule: {name: warmup_cosine, warmup: 0}`"),
    ("`augment: none`, `no`, `off`, `false`", "`augment: null`; so wherever null means that there is none of it"),
]


def config_page() -> str:
    """Return docs/config.md."""
    root = json_schema()
    digits = re.sub(r"^#.*\n", "", (bundled_folder() / "digits.yaml").read_text("utf-8"))
    page = [CONFIG_HEAD.format(digits=digits, short=table(("written", "means"), SHORT))]
    found = list(sections(root))
    places = [(f"[{title(one)}](#{anchor(title(one))})", first_sentence(one.about)) for one in found]
    page.append(table(("section", "says"), places))
    for section in found:
        page.append(f"\n## {title(section)}\n\n{section.about}\n")
        if section.kinds:
            page.append("\n" + table(("kind", "is"), [(f"`{kind}`", text) for kind, text in section.kinds.items()]))
        rows = [(f"`{key.name}`", takes(key), default(key), meaning(key), f"`{key.setting()}`") for key in section.keys]
        page.append("\n" + table(("key", "takes", "default", "what it does", "example"), rows))
    return "".join(page)


def title(section: Section) -> str:
    return f"{section.path}, each entry" if section.is_list else section.path or "The run"


def first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", text, maxsplit=1)[0]


def anchor(heading: str) -> str:
    """Return what GitHub calls a heading in an address."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


def key_list() -> str:
    """Return backprop_cli/config/keys.txt: each key with its choices, else with its default."""
    root, lines = json_schema(), []
    for name, schema in root["properties"].items():
        found = [Key(name, {"": schema})]
        found += [key for section in sections_at(name, schema, root) for key in section.keys]
        for key in found:
            if "$ref" in key.schema:
                continue
            values = [*key.choices, *["null"] * key.is_nullable]
            if not values and "default" in key.schema and not settings_in(key.schema, root)[0]:
                values = [written(key.schema["default"])]
            if offered := [value for value in dict.fromkeys(values or [key.example()]) if " " not in value]:
                lines.append(" ".join([key.path.replace("[]", ".0"), *offered]))
    return "\n".join(lines) + "\n"


# ---- the commands --------------------------------------------------------------------------------------------------

ROOT: Any = typer.main.get_command(app)


def commands(group: Any = ROOT, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk through all commands and subcommands, groups among them."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))


COMMANDS_HEAD = f"""{NOTE}
# Commands

Results go to stdout, everything else to stderr. With `--json` the result is one JSON document, whose `schema` names its
form. The examples run as they stand where the files that they name exist.

{{table}}
A config is a file, the name of a bundled one (`backprop config list`), or `-` for standard input;
[config.md](config.md) has every key. A model is a run's directory or its name under `runs/`, `latest`, a model file, or
`pretrained`, the one that travels in the package; where none is named, the one that `BACKPROP_MODEL` names, else the
choice of `backprop use`, else the last run. A picture is a file of any usual format, a folder of them, `-` for
standard input, `samples:4` (a picture in the package) or `digits:1500` (a sample of the digits data set).

## Everywhere

These may stand before or after the command:

{{everywhere}}
| exit code | means |
| --- | --- |
| 0 | done |
| 1 | it ran, and the answer is no: a gradient that is wrong, a picture that cannot be read, a full disk |
| 2 | wrong usage, config, data or model file; stdout is empty |
| 70 | a bug of ours |
| 130, 143 | ended by Ctrl-C, by SIGTERM; a training can be resumed |

## Completion

```console
$ backprop --install-completion
```

puts completion into the shell that runs it (bash, zsh, fish, PowerShell), and is there in the next one that is started;
`--show-completion` prints it instead. Beside commands and options, Tab completes

| what | to |
| --- | --- |
| `-c`, `--config` | bundled configs, folders, YAML files |
| `-m`, `--model`, and runs wherever they stand | runs under `runs/`, `latest`, `pretrained`, folders, model files |
| `--set` | every key of a config; behind the `=` its choices, else its default |
| `--data`, and `--set data.source=` | `digits`, `pens`, files |
| pictures | files, `samples:4` |

Only lists of names are read for that. Where it has nothing to offer, the shell offers files.
"""


def commands_page() -> str:
    """Return docs/commands.md."""
    found = list(commands())
    rows = [
        (f"[`backprop {' '.join(path)}`](#backprop-{'-'.join(path)})", said(command))
        for path, command in found
        if len(path) == 1
    ]
    everywhere = option_rows(ROOT, ROOT.make_context("backprop", [], resilient_parsing=True))
    page = [
        COMMANDS_HEAD.format(table=table(("command", "does"), rows), everywhere=table(("option", "does"), everywhere))
    ]
    page += [command_text(path, command) for path, command in found]
    return "\n".join(page)


def said(command: Any) -> str:
    """Return what a command says of itself, in one sentence."""
    return " ".join((command.help or "").partition("\n\n")[0].split())


def command_text(path: tuple[str, ...], command: Any) -> str:
    """Return the part of the page on one command."""
    name = " ".join(("backprop", *path))
    context = command.make_context(path[-1], [], resilient_parsing=True)
    usage = " ".join((name, *command.collect_usage_pieces(context)))
    examples, notes = parted(command.epilog or "")
    lines = [f"{'#' * (len(path) + 1)} {name}\n", f"{(command.help or '').strip()}\n", f"```text\n{usage}\n```\n"]
    if rows := option_rows(command, context, but=("--help",)):
        lines.append(table(("", "does"), rows))
    if examples:
        width = max(len(line) for line, about in examples if about) if any(about for _, about in examples) else 0
        shown = [f"$ {line:<{width}}  # {about}" if about else f"$ {line}" for line, about in examples]
        lines.append("```console\n" + "\n".join(shown) + "\n```\n")
    return "\n".join([*lines, *(f"{as_code(note)}\n" for note in notes)])


def parted(epilog: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the examples below a command's help, each with what it is for, and the paragraphs after them."""
    lines = [line.strip() for line in epilog.splitlines() if line.startswith("  ")]
    examples = [(line, about) for line, _, about in (re.sub(r" {3,}", "\0", line).partition("\0") for line in lines)]
    rest = re.sub(r"\A\x08\n?", "", epilog).split("\n\n")[1:]
    return examples, [" ".join(part.split()) for part in rest if part.strip()]


def option_rows(command: Any, context: Any, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """Return a row for every argument and option of a command."""
    rows = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or set(but) & set(parameter.opts):
            continue
        names, text = record
        if parameter.param_type_name == "argument":
            names = re.sub(r"[\[\]{}]", "", parameter.metavar or names)
        rows.append((", ".join(f"`{plain(name)}`" for name in names.split(", ")), told(text)))
    return rows


def plain(name: str) -> str:
    """Return an option with what it takes: `--top N` for `--top <int range>`."""
    kinds = {"str": "TEXT", "path": "PATH", "int": "N", "int range": "N", "float": "X", "float range": "X"}
    return re.sub(r"<(.+)>$", lambda kind: kinds.get(kind[1], kind[1]), name)


def told(text: str) -> str:
    """Return an option's help as sentences: Typer's `[default: 2; x>=1]` is said in words."""
    text, _, brackets = (
        text.strip().removesuffix("]").rpartition("  [") if text.strip().endswith("]") else (text, "", "")
    )
    sentences, default = [" ".join(text.split())], []
    for note in filter(None, brackets.split("; ")):
        if note.startswith("default: "):
            default = [f"Default: {note.removeprefix('default: ').strip('()')}."]
        elif limits := re.fullmatch(r"(?:([\d.]+)<=)?x(?:<=([\d.]+)|>=([\d.]+))", note):
            low, high, least = limits.groups()
            sentences.append(f"At least {least}." if least else f"{low} to {high}." if low else f"At most {high}.")
        elif note != "required":
            sentences.append(f"{note}.")
    return as_code(" ".join([*sentences, *default]))


def as_code(text: str) -> str:
    """Return a text with its options set as code."""
    return re.sub(r"(?<![\w`-])(--?[a-z][a-z-]*)", r"`\1`", text)


# ---- all of it -----------------------------------------------------------------------------------------------------


def made() -> dict[Path, str]:
    """Return every file that is made, with its text."""
    docs = CHECKOUT / "docs"
    return {docs / "config.md": config_page(), docs / "commands.md": commands_page(), LIST: key_list()}


if __name__ == "__main__":
    for path, text in made().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
