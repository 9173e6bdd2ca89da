"""Results as JSON, for programs."""

import json
import math
from typing import Any


def to_json(result: Any) -> str:
    """One document and a line end; null for NaN and infinities, which JSON does not have."""
    return json.dumps(_finite(result), indent=2, allow_nan=False) + "\n"


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
