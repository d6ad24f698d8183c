"""A script's frame: its arguments, one JSON object as its last line, one line when it fails."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

BEGAN = time.perf_counter()


class StepError(Exception):
    """What was asked can't be done; the text is one line for people."""


class Arguments(argparse.ArgumentParser):
    """Arguments that are wrong are told of as everything else is."""

    def error(self, message: str) -> NoReturn:
        raise StepError(f"{message} (see --help)")


def params_of(text: str) -> dict[str, Any]:
    """The parameters of a trial: one JSON object."""
    try:
        params = json.loads(text)
    except ValueError as error:
        raise StepError(f"--params is no JSON: {error}") from None
    if not isinstance(params, dict):
        raise StepError(f"--params must be a JSON object, and is {text[:80]}")
    return params


class Params:
    """Parameters that are taken out one by one, so that what is left over is unknown."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.left = dict(params)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.left.pop(name, default)
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not plain or not low <= value <= high:
            raise StepError(f"the parameter {name} is {value!r}; it must be {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self.number(name, default, low, high)
        if value != int(value):
            raise StepError(f"the parameter {name} is {value:g}; it must be a whole number")
        return int(value)

    def end(self, known: str) -> None:
        if self.left:
            raise StepError(f"there is no parameter {next(iter(self.left))!r}; there are: {known}")


def plain(value: Any) -> Any:
    """As JSON has it: NumPy's numbers as Python's, and null for what is no number."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def note(line: str) -> None:
    """Something for people."""
    print(line, file=sys.stderr, flush=True)


def run(body: Callable[[], dict[str, Any]]) -> None:
    """Runs a script and prints what it returns, as one line of JSON with `status` and `seconds`."""
    try:
        said = body()
        value = said.get("value")
        if value is not None and not math.isfinite(value):
            raise StepError(f"the value is {value}, no finite number: the parameters lead nowhere")
        seconds = round(time.perf_counter() - BEGAN, 4)
        print(json.dumps(plain({"status": "ok", **said, "seconds": seconds}), allow_nan=False), flush=True)
    except Exception as error:  # whatever it is, one line must say it.
        known = isinstance(error, (StepError, OSError))
        if not known:
            traceback.print_exc()
        text = str(error) if known else f"{type(error).__name__}: {error}"
        line = " ".join(text.split()) or type(error).__name__
        print(json.dumps({"status": "error", "message": line}), flush=True)
        sys.exit(1)
