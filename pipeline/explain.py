"""Says in one line what is wrong with a configuration, from what Hydra and OmegaConf raise."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args, get_type_hints

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pipeline import schema
from pipeline.errors import ConfigError


@contextmanager
def explained() -> Iterator[None]:
    """Turn what Hydra and OmegaConf raise into a :class:`ConfigError` of one line."""
    try:
        yield
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise ConfigError(
            "a group cannot be null; choose one of its files, as in train=none"
        ) from error
    except AssertionError as error:
        # What OmegaConf says when a key of a group that is null is given.
        if "Unexpected type for root" not in str(error):
            raise
        raise ConfigError(
            "a key of train or fabric is given, and that group is none; choose one of its files "
            "first, as in fabric=experiment"
        ) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error


def explain(error: Exception) -> str:
    """Say in one line which key or value is wrong, and what would be right."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    key = getattr(error, "full_key", None) or getattr(error.__cause__, "full_key", None) or ""
    if isinstance(error, MissingMandatoryValue):
        return f"{key}: has no value and needs one; give it as {key}=VALUE"
    if match := re.search(r"Could not find '([^']+)'", text):
        return _no_such_choice(match[1], lines)
    if match := re.match(r"Error parsing override '([^']*)'", text):
        return f"{match[1]}: not an override; write key=value, for example train.steps=100"
    if match := re.match(r"Could not override '([^']+)'", text):
        return f"{match[1]}: no such key{_did_you_mean(match[1])}"
    if match := re.match(r"Error merging override (\S+)", text):
        reason = next(iter(str(error.__cause__ or "").splitlines()), text)
        text = f"{match[1]}: {reason[:1].lower()}{reason[1:]}"
    elif key and key not in text:
        text = f"{key}: {text}"
    return text


def _no_such_choice(choice: str, lines: list[str]) -> str:
    group = choice.rpartition("/")[0]
    try:
        first = next(i for i, line in enumerate(lines) if line.startswith("Available options"))
    except StopIteration:
        return f"{choice}: no such choice"
    listed = itertools.takewhile(
        lambda line: not line.startswith("Config search"), lines[first + 1 :]
    )
    options = [option for option in listed if not option.endswith("_schema")]
    return f"{choice}: no such choice; {group} is one of {', '.join(options)}"


def _did_you_mean(key: str) -> str:
    known = list(schema_keys(schema.Config))
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close and close[0] != key else ""


def refuse_added_keys(node: DictConfig, prefix: str = "") -> None:
    """Raise :class:`ConfigError` for a key that ``+key=value`` added to a typed configuration."""
    kind = OmegaConf.get_type(node)
    if kind is None or not dataclasses.is_dataclass(kind):
        return
    known = {field.name for field in dataclasses.fields(kind)}
    for key in map(str, node):
        path = f"{prefix}{key}"
        if key not in known:
            raise ConfigError(f"{path}: no such key{_did_you_mean(path)}")
        value = None if OmegaConf.is_missing(node, key) else node[key]
        if isinstance(value, DictConfig):
            refuse_added_keys(value, f"{path}.")


def schema_keys(node: type, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key that the schema knows, whatever the choice of each group."""
    for field in dataclasses.fields(node):
        path = f"{prefix}{field.name}"
        yield path
        for nested in _nested_types(path, node, field.name):
            yield from schema_keys(nested, f"{path}.")


def _nested_types(path: str, node: type, key: str) -> list[type]:
    if path in schema.GROUP_SCHEMAS:
        return list(schema.GROUP_SCHEMAS[path].values())
    hint = get_type_hints(node)[key]
    return [
        kind
        for kind in (hint, *get_args(hint))
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
    ]
