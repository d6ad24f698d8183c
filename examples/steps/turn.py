"""Small turns of files between the steps of `make steps`: the shell has no JSON."""

import json
import sys
from pathlib import Path

MODELS = ("neural_net", "lightgbm", "xgboost", "catboost")


def of_text(text: str) -> list[dict[str, int]]:
    """Draws as the fleet's files have them."""
    return [{"draw": int(word)} for word in Path(text).read_text().split()]


def split(draws: str, older: str, newer: str) -> None:
    """Cuts the newest fifth off."""
    every = json.loads(Path(draws).read_text())
    cut = len(every) - len(every) // 5
    Path(older).write_text(json.dumps(every[:cut]))
    Path(newer).write_text(json.dumps(every[cut:]))


def merge(into: str, *parts: str) -> None:
    """Puts lists together."""
    every = [record for part in sorted(parts) for record in json.loads(Path(part).read_text())]
    Path(into).write_text(json.dumps(every))


def jobs(survivors: str, draws: str) -> list[dict[str, object]]:
    """A jobs file's list: a trial of each model."""
    files = [str(Path(file).resolve()) for file in (survivors, draws)]
    names = [f"{{input:{Path(file).name}}}" for file in files]
    return [
        {
            "job_id": model,
            "args": ["--survivors", names[0], "--draws", names[1], "--model", model, "--seed", "42"],
            "inputs": files,
        }
        for model in MODELS
    ]


def main(turn: str, *files: str) -> None:
    """Does the turn that is asked for."""
    turns = {"json": of_text, "split": split, "merge": merge, "jobs": jobs}
    made = turns[turn](*files)
    if made is not None:
        print(json.dumps(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
