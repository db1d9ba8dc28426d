"""Checked reading of a Hugging Face ``config.json``; what it refuses is a :class:`ModelError`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.choices import Activation
from pipeline.errors import ModelError

# By their names in transformers; the last three are one approximation by tanh.
ACTIVATIONS = {
    "gelu": Activation.gelu,
    "gelu_new": Activation.gelu_new,
    "gelu_fast": Activation.gelu_new,
    "gelu_pytorch_tanh": Activation.gelu_new,
}


@dataclass(frozen=True)
class ConfigFile:
    """The values of one file; every refusal names the file, the key and the value."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read ``path``, which must hold a JSON object."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(
                f"{path}: no such file; give a local model directory as save_pretrained of"
                " transformers writes it"
            ) from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot be read as JSON: {error}") from error
        if not isinstance(values, dict):
            raise ModelError(f"{path}: holds no JSON object")
        return cls(path, values)

    def refuse(self, key: str, value: Any, supported: Any) -> ModelError:
        """The error for a value that is not supported."""
        return ModelError(
            f"{self.path}: {key} is {_shown(value)}; supported is {_shown(supported)}"
        )

    def require(self, key: str, value: bool) -> None:
        """Refuse another value of an option than the one that the decoder reproduces."""
        if self.values.get(key, value) != value:
            raise self.refuse(key, self.values[key], value)

    def size(self, key: str, default: int | None = None, null: bool = True) -> int:
        """A count of at least one; ``default`` stands for an absent key, and for ``null``."""
        value = self.values.get(key, default)
        if value is None and null:
            value = default
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.refuse(key, value, "an integer of at least 1")
        return value

    def number(self, key: str, default: float) -> float:
        """A positive number, or ``default`` for an absent key."""
        value = self.values.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise self.refuse(key, value, "a number above 0")
        return float(value)

    def activation(self, key: str, default: str) -> Activation:
        """The activation that ``key`` names."""
        name = self.values.get(key, default)
        if not isinstance(name, str) or name not in ACTIVATIONS:
            raise self.refuse(key, name, ", ".join(ACTIVATIONS))
        return ACTIVATIONS[name]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
