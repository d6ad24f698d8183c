#!/usr/bin/env python3
"""Step 5: one trial of one kind of model. From a survivor's features on the older draws it learns to
tell how the survivor fares on newer ones, in k folds of survivors; the value is R squared of what
it says of survivors that it has not seen. The newest draws (or some survivors) are held out."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from rigqueue_steps.asked import look_at, of_trials, survivors_of
from rigqueue_steps.features import NAMES, Parts, Scoring
from rigqueue_steps.folds import cross_validate, r_squared, scored_features
from rigqueue_steps.inputs import read_draws
from rigqueue_steps.models import KINDS, Learner, Model
from rigqueue_steps.trial import StepError, params_of, run


def main() -> dict[str, Any]:
    parser = of_trials(__doc__)
    add = parser.add_argument
    add("--model", required=True, choices=sorted(KINDS))
    add("--folds", type=int, default=3, metavar="K", help="parts that the survivors are cut into (3)")
    add("--holdout", type=float, default=0.2, metavar="SHARE", help="what is held out (0.2)")
    add("--holdout-by", choices=["draws", "records"], default="draws", help="the newest draws, or some survivors")
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: the GPU that the worker gives")
    add("--save", metavar="FILE", help="where to write the model, and FILE.meta.json beside it")
    args = parser.parse_args()
    if not 0 <= args.holdout <= 0.45:
        raise StepError(f"--holdout is {args.holdout}; it must be 0 to 0.45")
    params = params_of(args.params)
    gpu = None if args.device == "auto" else args.device == "gpu"
    learner = Learner(args.model, params, gpu)
    survivors = survivors_of(args)
    names, features, targets, later = tables(args, survivors)

    by_records = args.holdout_by == "records" or later is None
    kept = np.arange(len(targets))
    aside = np.array([], dtype=np.int64)
    if by_records and args.holdout:
        order = np.random.default_rng(args.seed + 1).permutation(len(targets))
        aside, kept = np.split(order, [round(len(order) * args.holdout)])
    began = time.perf_counter()
    learned = cross_validate(learner, features[kept], targets[kept], args.folds, args.seed)
    training = time.perf_counter() - began

    holdout, model = None, None
    if len(aside) or later is not None or args.save:
        model = learner.fit(features[kept], targets[kept], args.seed)
        if by_records and len(aside) > 1:
            holdout = r_squared(targets[aside], model.predict(features[aside]))
        elif later is not None:
            holdout = r_squared(later[1], model.predict(later[0]))
    said = {
        "value": learned.value,
        "params": params,
        "seed": args.seed,
        "model": args.model,
        "rmse": learned.error,
        "folds": learned.folds,
        "holdout_value": holdout,
        "holdout_by": "records" if by_records else "draws",
        "survivors": len(survivors),
        "training_seconds": round(training, 4),
        "device": "gpu" if learner.gpu else "cpu",
    }
    if args.save and model is not None:
        save(model, Path(args.save), {**said, "features": names})
    return said


def tables(args: Any, survivors: list[Any]) -> tuple[list[str], np.ndarray, np.ndarray, Any]:
    """Features and targets; and, where draws are held out, the same one step later."""
    scored = scored_features(survivors)
    if scored is not None:
        return *scored, None
    draws = read_draws(args.draws)
    share = args.holdout or 0.2
    if args.holdout_by == "records" or not args.holdout:
        looked = look_at(args, survivors, draws, Parts(1 - share), Scoring())
        return list(NAMES), looked.features, looked.target, None
    older = look_at(args, survivors, draws, Parts(1 - 2 * share, 1 - share), Scoring())
    newer = look_at(args, survivors, draws, Parts(1 - share), Scoring())
    return list(NAMES), older.features, older.target, (newer.features, newer.target)


def save(model: Model, path: Path, about: dict[str, Any]) -> None:
    """Writes a model, and what there is to know of it beside it, each whole or not at all."""
    beside = path.with_name(path.name + ".part")
    model.save(beside)
    os.replace(beside, path)
    text = json.dumps(about, indent=1, allow_nan=False)
    beside.write_text(text + "\n")
    os.replace(beside, path.with_name(path.name + ".meta.json"))


if __name__ == "__main__":
    run(main)
