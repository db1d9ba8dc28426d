"""Compiled code that is kept on disk, and never found again once its sources have changed.

Numba itself looks only whether a function's own file has changed, not those that it calls.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba


@dataclass(frozen=True)
class KeptCode:
    """Where the code of a package is kept: in its ``__pycache__``, or the user's cache.

    ``name`` is that of the folder there, ``sources`` are all files that the code is made of.
    """

    name: str
    package: Path
    sources: Iterable[Path]

    def compiled(self, function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
        """Compile ``function`` at its first use; anew in each process where no folder is."""
        config: Any = numba.config
        before = config.CACHE_DIR
        try:
            config.CACHE_DIR = str(self._folder(before))
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no such folder, or no home
            return numba.njit(**options)(function)
        finally:
            config.CACHE_DIR = before

    def _folder(self, chosen: str) -> Path:
        digest = hashlib.blake2b(digest_size=8)
        for path in self.sources:
            digest.update(path.read_bytes())
        beside = self.package / "__pycache__"
        home = beside if os.access(beside, os.W_OK) else Path.home() / ".cache" / "onewafer"
        return Path(chosen or home) / f"{self.name}-{digest.hexdigest()}"
