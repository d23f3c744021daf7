"""Print what tests need at the lowest versions that pyproject.toml allows, for `make test-lowest`."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
extras = project["optional-dependencies"]
testing = [line for line in extras["dev"] if line.startswith(("pytest", "hypothesis", "onnxruntime"))]
testing += extras["heif"] + extras["onnx"]
print(*(line.replace(">=", "==") for line in project["dependencies"] + testing))
