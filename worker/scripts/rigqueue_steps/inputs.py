"""Draws and survivors, as the fleet's files have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .trial import StepError

# What a search uses unless it is told otherwise (producer run --help).
MODULUS = 1000
WINDOW = 30


class Survivor(NamedTuple):
    """One seed with what its sequence is made of."""

    seed: int
    family: str
    modulus: int
    offset: int  # Outputs passed over before anything else.
    window: int  # Draws that it was found with.
    start: int  # The file's draw that its window begins with.
    skip: int
    reverse: bool  # Found on the draws in reverse order.
    strategy: int | None  # Of variable skips.
    skips: tuple[int, ...] | None  # The same: before each draw of the window.
    record: dict[str, Any]  # As it was read.


def _lines(path: str) -> list[int] | None:
    """The integers of a file that holds nothing else."""
    try:
        words = Path(path).read_text().split()
    except (OSError, ValueError):
        return None
    return [int(word) for word in words] if all(word.isdigit() for word in words) else None


def _load(path: str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise StepError(f"{path} is no JSON: {error}") from None
    except OSError as error:
        raise StepError(f"{path} can't be read: {error.strerror or error}") from None


def read_draws(path: str) -> np.ndarray:
    """Draws in the file's order: JSON integers, or objects with `full_state` or `draw`; or one
    integer a line."""
    listed = _lines(path) or _load(path)
    if isinstance(listed, dict):
        listed = listed.get("draws")
    if not isinstance(listed, list) or not listed:
        raise StepError(f"{path} holds no list of draws")
    values = []
    for number, entry in enumerate(listed, 1):
        value = entry
        if isinstance(entry, dict):
            value = entry.get("full_state")
            value = entry.get("draw") if value is None else value
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
            raise StepError(f"{path}, entry {number}: {str(entry)[:80]} holds no draw")
        values.append(value)
    return np.array(values, dtype=np.uint64)


def _number(record: dict[str, Any], names: Sequence[str], default: int) -> int:
    for name in names:
        value = record.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise StepError(f"the {name} of seed {record.get('seed')} is {value!r}")
            return value
    return default


def survivor_of(record: Any, family: str | None = None, modulus: int = MODULUS, offset: int = 0) -> Survivor:
    """A survivor's record; what it lacks is what the arguments say."""
    if not isinstance(record, dict) or "seed" not in record:
        raise StepError(f"{str(record)[:80]} is no survivor: it has no seed")
    named = record.get("family") or family
    if not isinstance(named, str):
        raise StepError(f"the survivor {record['seed']} names no family: give --family")
    skips = record.get("skips", record.get("skip_sequence"))
    strategy = record.get("strategy", record.get("strategy_id"))
    return Survivor(
        seed=_number(record, ["seed"], 0),
        family=named,
        modulus=_number(record, ["modulus"], modulus),
        offset=_number(record, ["offset", "advance"], offset),
        window=_number(record, ["window", "total"], WINDOW),
        # A search begins its window where it advances to, unless it is told otherwise.
        start=_number(record, ["window_offset", "offset", "advance"], offset),
        skip=_number(record, ["skip", "best_skip"], 0),
        reverse=record.get("direction") == "reverse",
        strategy=None if skips is None else int(strategy or 0),
        skips=None if skips is None else tuple(int(skip) for skip in skips),
        record=record,
    )


def read_survivors(
    paths: Iterable[str], family: str | None = None, modulus: int = MODULUS, offset: int = 0
) -> list[Survivor]:
    """Survivors of one file or of several together, ascending by seed, each once."""
    found: dict[tuple[int, str, bool], Survivor] = {}
    for path in paths:
        listed = _load(path)
        if isinstance(listed, dict):
            listed = listed.get("survivors")
        if not isinstance(listed, list):
            raise StepError(f"{path} holds no list of survivors")
        for record in listed:
            survivor = survivor_of(record, family, modulus, offset)
            found[(survivor.seed, survivor.family, survivor.reverse)] = survivor
    if not found:
        raise StepError("there are no survivors: nothing can be learned")
    return [found[key] for key in sorted(found)]


def sampled(survivors: list[Survivor], size: int | None, seed: int) -> list[Survivor]:
    """That many of them, the same for the same seed; all unless there are more."""
    if size is None or size >= len(survivors):
        return survivors
    if size < 1:
        raise StepError(f"--sample-size is {size}; it must be at least 1")
    chosen = np.random.default_rng(seed).choice(len(survivors), size, replace=False)
    return [survivors[index] for index in sorted(chosen)]
