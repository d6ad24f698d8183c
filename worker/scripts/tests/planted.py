"""Survivors with something to find: sequences that share part of what made the draws."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # after the path above.

from rigqueue_steps.inputs import survivor_of  # noqa: E402
from rigqueue_steps.streams import ROW, outputs  # noqa: E402

SEED, SKIP, OFFSET, WINDOW = 123_456_789, 2, 3, 12


def draws(length: int = 400, family: str = "java_random") -> list[int]:
    """Draws of which those from OFFSET on are what SEED puts out, with its skip and offset."""
    row = np.array([(SEED, SKIP, OFFSET)], dtype=ROW)
    return [7] * OFFSET + [int(value) for value in outputs(family, row, length - OFFSET, 1000)[0]]


def record(seed: int, skip: int = SKIP, **more: Any) -> dict[str, Any]:
    return {
        "seed": seed, "family": "java_random", "modulus": 1000, "offset": OFFSET, "window": WINDOW,
        "skip": skip, "matches": 4, "total": WINDOW, "rate": 4 / WINDOW, **more,
    }  # fmt: skip


def records(count: int) -> list[dict[str, Any]]:
    """The seed itself among others that have nothing to do with the draws."""
    return [record(SEED), *(record(1000 + 17 * n, n % 5) for n in range(count - 1))]


def mixed(count: int) -> tuple[list[dict[str, Any]], list[int]]:
    """Survivors a sixth of which made the draws, each some of them, the first ones the most."""
    some = records(count)
    survivors = [survivor_of(entry) for entry in some]
    rows = np.array([(s.seed, s.skip, s.offset) for s in survivors], dtype=ROW)
    values = outputs("java_random", rows, 1200, 1000)
    choose = np.random.default_rng(5)
    makers = (choose.random(1200) ** 1.5 * count / 6).astype(int)
    return some, [7] * OFFSET + [int(values[maker, place]) for place, maker in enumerate(makers)]


def written(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


