"""What descriptions of hardware have in common: a name, and numbers that mean something."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import fields
from typing import Any

from wse.errors import OnewaferError


def check_values(
    kind: str,
    description: Any,
    error: type[OnewaferError],
    may_be_zero: Collection[str] = (),
) -> None:
    """Raise ``error``, naming the field, unless ``description`` has a name and sound numbers.

    ``description`` is a dataclass, and ``kind`` what it is called in a configuration: ``wafer``.
    A number is sound if it is finite and positive, or zero where that ``may_be_zero``.
    """
    if not description.name or description.name == "???":
        raise error(f"{kind}.name: {description.name!r} is not a name; give the {kind} one")
    for field in fields(description):
        value = getattr(description, field.name)
        if isinstance(value, str) or (value == 0 and field.name in may_be_zero):
            continue
        if not math.isfinite(value) or value <= 0:
            raise error(f"{kind}.{field.name}: {value} is not a positive, finite number")
