"""What generators put out, from `runner-cpu stream`: nothing is generated in Python.

The runner takes rows of 16 bytes on stdin (seed u64, skip u32, advance u32, little-endian) and
writes one NPY array: a line a row (docs/steps.md).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .inputs import Survivor
from .trial import StepError

ROW = np.dtype([("seed", "<u8"), ("skip", "<u4"), ("advance", "<u4")])
MAX_POSITION = 1 << 24  # The last output that the runner goes to.
BATCH = 1 << 23  # Outputs that are asked for at a time: 32 MiB.
# The tolerance of each strategy of variable skips (shared::variable), and what a walk expects first.
TOLERANCES = (5, 20, 5, 10, 50)
FIRST_EXPECTED = 5


def runner() -> str:
    """The program that is asked: the worker's, else the one beside `producer`."""
    named = os.environ.get("RIGQUEUE_RUNNER")
    if named:
        if os.access(named, os.X_OK):
            return named
        raise StepError(f"RIGQUEUE_RUNNER is {named}, which is no program: install it beside the worker")
    producer = shutil.which("producer")
    beside = Path(producer).resolve().with_name("runner-cpu") if producer else None
    if beside and os.access(beside, os.X_OK):
        return str(beside)
    raise StepError("there is no runner-cpu to ask for streams: set RIGQUEUE_RUNNER to its path")


def outputs(family: str, rows: np.ndarray, count: int, modulus: int | None) -> np.ndarray:
    """`count` outputs of each row (of `ROW`), reduced modulo `modulus` or raw: a line a row."""
    command = [runner(), "stream", "--family", family, "--count", str(count)]
    if modulus is not None:
        command += ["--modulus", str(modulus)]
    each = max(1, BATCH // max(count, 1))
    parts = []
    for begin in range(0, len(rows), each):
        asked = np.ascontiguousarray(rows[begin : begin + each], dtype=ROW).tobytes()
        # It ends with this process, whatever ends it.
        env = {**os.environ, "RIGQUEUE_PARENT": str(os.getpid())}
        said = subprocess.run(command, input=asked, capture_output=True, env=env, check=False)
        if said.returncode != 0:
            why = said.stderr.decode(errors="replace").strip() or f"it ended with {said.returncode}"
            raise StepError(f"runner-cpu gives no stream: {why}")
        parts.append(np.load(io.BytesIO(said.stdout), allow_pickle=False))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def reach(survivor: Survivor, wanted: int) -> int:
    """How many draws of a survivor's sequence there can be, of so many."""
    gap = typical_skip(survivor) + 1
    before = survivor.offset + (sum(survivor.skips) + len(survivor.skips) if survivor.skips else 0)
    room = (MAX_POSITION - before) // gap - 200
    return max(1, min(wanted, room))


def typical_skip(survivor: Survivor) -> int:
    """The skip that a sequence goes on with: the fixed one, or the median of variable ones."""
    if not survivor.skips:
        return survivor.skip
    return int(sorted(survivor.skips)[len(survivor.skips) // 2])


def sequences(survivors: Sequence[Survivor], draws: np.ndarray, count: int) -> np.ndarray:
    """The first `count` values of each survivor's sequence, a line each: value `i` is what draw `i`
    of its window is compared with, and the draws after it. All have one family and modulus, and
    the same window, whose draws (and those after it) in their order `draws` are."""
    family, modulus = survivors[0].family, survivors[0].modulus
    fixed = [index for index, survivor in enumerate(survivors) if survivor.skips is None]
    values = np.empty((len(survivors), count), dtype=np.uint32)
    if fixed:
        rows = np.array([(survivors[i].seed, survivors[i].skip, survivors[i].offset) for i in fixed], dtype=ROW)
        values[fixed] = outputs(family, rows, count, modulus)
    walkers = [index for index in range(len(survivors)) if survivors[index].skips is not None]
    if walkers:
        length = max(plain_length(survivors[index], count) for index in walkers)
        rows = np.array([(survivors[i].seed, 0, survivors[i].offset) for i in walkers], dtype=ROW)
        for index, plain in zip(walkers, outputs(family, rows, length, modulus)):
            values[index] = walked(survivors[index], draws, plain, count)
    return values


def plain_length(survivor: Survivor, count: int) -> int:
    """How many outputs a walk of variable skips may look at."""
    tolerance = TOLERANCES[survivor.strategy or 0]
    # A miss passes over what was expected and the tolerance.
    window = sum(skip + 1 + tolerance for skip in survivor.skips or ())
    length = window + FIRST_EXPECTED + (typical_skip(survivor) + 1) * count + 1
    return min(length, MAX_POSITION - survivor.offset)


def walked(survivor: Survivor, draws: np.ndarray, plain: np.ndarray, count: int) -> np.ndarray:
    """A sequence of variable skips, out of all outputs: as the sieve walked its window, then by the
    typical skip."""
    skips = survivor.skips or ()
    tolerance = TOLERANCES[survivor.strategy or 0]
    gap = typical_skip(survivor) + 1
    positions = np.empty(count, dtype=np.int64)
    cursor, expected = 0, FIRST_EXPECTED
    for index, skip in enumerate(skips[:count]):
        positions[index] = cursor + skip
        if index < len(draws) and plain[cursor + skip] == draws[index] % survivor.modulus:
            cursor, expected = cursor + skip + 1, skip
        else:
            cursor += expected + tolerance
    known = min(len(skips), count)
    positions[known:] = cursor + gap * np.arange(1, count - known + 1) - 1
    return plain[np.minimum(positions, len(plain) - 1)]
