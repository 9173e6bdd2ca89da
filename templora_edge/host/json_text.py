"""Results as JSON text."""

import json
import math
from typing import Any


def to_json(result: Any, *, indent: int | None = 2) -> str:
    """``result`` as JSON with a final newline; NaN and infinities, unknown to JSON, become null.

    Without ``indent`` it is a single line.
    """
    return json.dumps(_finite(result), indent=indent, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
