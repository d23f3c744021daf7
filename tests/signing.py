"""Model files taken apart and put together again with the right checksum, whatever they say."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any


def header_of(raw: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return header


def body_of(raw: bytes) -> bytes:
    return raw[8 + int.from_bytes(raw[:8], "little") :]


def sign(header: str | dict[str, Any], body: bytes) -> bytes:
    """Return a file with the right checksum, whatever the header says."""
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))
    text = re.sub(r'(\\"sha256\\":\\")[0-9a-f]{64}(\\"}")', rf"\g<1>{'0' * 64}\2", text)
    text += " " * (-len(text) % 8)
    encoded = text.encode()
    zeroed = len(encoded).to_bytes(8, "little") + encoded + body
    start = zeroed.index(b'\\"sha256\\":\\"' + b"0" * 64 + b'\\"}"') + len(b'\\"sha256\\":\\"')
    return zeroed[:start] + hashlib.sha256(zeroed).hexdigest().encode() + zeroed[start + 64 :]
