"""Print what tests need at the lowest versions that pyproject.toml allows, for `make test-lowest`."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
testing = [line for line in project["optional-dependencies"]["dev"] if line.startswith(("pytest", "hypothesis"))]
print(*(line.replace(">=", "==") for line in project["dependencies"] + testing))
