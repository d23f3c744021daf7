"""What the configs of older versions said otherwise: runs and models that carry it keep their meaning.

Version 0.1 had one record of augmentation, in which `through_normalizer` chose between warps and copies; and it took
arrays as they are.
"""

from __future__ import annotations

from typing import Any


def modernized(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a resolved config as this version says it; `plain` stays as it is."""
    plain = modernized_calibration(plain)
    match plain:
        case {"data": {"source": str(source), **data}} if source != "digits" and "invert" not in data:
            as_they_are = {"picture": data.get("picture") or "raw", "invert": "no", "transpose": False}
            return modernized({**plain, "data": {**data, "source": source, **as_they_are}})
    match plain:
        case {"data": {"augment": {"kind": _}}}:
            return plain
        case {"data": {"augment": {**augment}, **data}}:
            makes_copies = augment.pop("through_normalizer", False) is True
            for key in ["interpolation"] if makes_copies else ["copies", "thickness"]:
                augment.pop(key, None)
            return {**plain, "data": {**data, "augment": {"kind": "copies" if makes_copies else "warps", **augment}}}
    return plain


def modernized_calibration(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a config in which a name of a calibration stands for its settings."""
    return {**plain, "calibration": {}} if plain.get("calibration") == "temperature" else plain


def as_first_written(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a resolved config as version 0.1 said it: what a digest is taken of, then and now."""
    data, training = dict(plain["data"]), dict(plain["training"])
    if not data.get("extra"):
        data.pop("extra", None)
    if training.get("class_weight") is None:
        training.pop("class_weight", None)
    if plain.get("calibration") == {"temperature": None, "unsure": 0.4}:
        plain = {**plain, "calibration": "temperature"}
    meaning = {key: data.pop(key, None) for key in ("invert", "transpose", "classes")}
    if meaning == {"invert": "no", "transpose": False, "classes": None}:
        data["picture"] = None if data["picture"] == "raw" else data["picture"]
    elif meaning != {"invert": "auto", "transpose": None, "classes": None}:
        data |= {key: value for key, value in meaning.items() if value is not None}
    match data:
        case {"augment": {"kind": kind, **augment}}:
            first = {"interpolation": "bilinear", "thickness": 0.0, "copies": 30, **augment}
            data["augment"] = {"through_normalizer": kind == "copies", **first}
    return {**plain, "data": data, "training": training}
