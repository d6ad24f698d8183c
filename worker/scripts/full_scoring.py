#!/usr/bin/env python3
"""Step 3: features and a score of every survivor of a chunk. Each one's sequence is put out anew,
with its own skip and offset, and compared with the draws; what the holdout's draws say of it is
kept apart, in features that begin with `holdout_`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from rigqueue_steps.asked import of_survivors, rows_of
from rigqueue_steps.features import NAMES, Parts, Scoring, look
from rigqueue_steps.inputs import read_draws, read_survivors
from rigqueue_steps.trial import StepError, params_of, plain, run


def main() -> dict[str, Any]:
    parser = of_survivors(__doc__)
    add = parser.add_argument
    add("--train-history", metavar="FILE", help="the older draws: features and scores come from them")
    add("--holdout-history", metavar="FILE", help="the draws that follow those")
    add("--draws", metavar="FILE", help="both in one file, instead of the two")
    add("--holdout", type=float, default=0.2, metavar="SHARE", help="of --draws: the newest (0.2)")
    add("--params", default="{}", metavar="JSON", help="scoring parameters (step 2.5's best)")
    add("--depth", type=int, default=1 << 24, metavar="N", help="look at so many draws from the window on (all)")
    add("--output", required=True, metavar="FILE")
    args = parser.parse_args()
    if (args.draws is None) == (args.train_history is None):
        raise StepError("give either --train-history and --holdout-history, or --draws")
    if args.draws is not None:
        if not 0 <= args.holdout < 1:
            raise StepError(f"--holdout is {args.holdout}; it must be from 0 to below 1")
        draws, parts = read_draws(args.draws), Parts(1 - args.holdout)
    else:
        older = read_draws(args.train_history)
        newer = [read_draws(args.holdout_history)] if args.holdout_history else []
        draws, parts = np.concatenate([older, *newer]), Parts(0.5 if newer else 1.0, train=len(older))
    survivors = read_survivors(args.survivors, args.family, args.modulus, args.offset)
    looked = look(survivors, draws, parts, Scoring.of(params_of(args.params)), args.depth)

    records = []
    for index, (survivor, features) in enumerate(zip(survivors, rows_of(looked, NAMES))):
        length = int(looked.target_length[index])
        if length:
            features["holdout_matches"] = int(looked.target_matches[index])
            features["holdout_match_rate"] = features["holdout_matches"] / length
            features["holdout_score"] = float(looked.target[index])
        score = float(looked.score[index])
        known = {"family": survivor.family, "modulus": survivor.modulus, "offset": survivor.offset}
        records.append({**known, **survivor.record, "features": features, "score": score})
    write(Path(args.output), records)
    scores = looked.score
    return {"survivors": len(records), "best_score": float(scores.max()), "mean_score": float(scores.mean())}


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """Writes a JSON list, a record a line, whole or not at all."""
    beside = path.with_name(path.name + ".part")
    with beside.open("w") as file:
        file.write("[\n" + ",\n".join(json.dumps(plain(record), allow_nan=False) for record in records) + "\n]\n")
    os.replace(beside, path)


if __name__ == "__main__":
    run(main)
