#!/usr/bin/env python3
"""Step 4: one trial of a neural net's architecture (layers, units, dropout, learning_rate,
batch_size, epochs, weight_decay): what `train_trial.py --model neural_net` would come to, less a
price for its size, so that of two nets as good the smaller one is worth more."""

from __future__ import annotations

import math
from typing import Any

from rigqueue_steps.asked import look_at, of_trials, survivors_of
from rigqueue_steps.features import NAMES, Parts, Scoring
from rigqueue_steps.folds import cross_validate, scored_features
from rigqueue_steps.inputs import read_draws
from rigqueue_steps.models import Learner, Shape
from rigqueue_steps.trial import StepError, params_of, run


def main() -> dict[str, Any]:
    parser = of_trials(__doc__)
    add = parser.add_argument
    add("--folds", type=int, default=3, metavar="K", help="parts that the survivors are cut into (3)")
    add("--holdout", type=float, default=0.2, metavar="SHARE", help="draws that targets come from (0.2)")
    add("--price", type=float, default=0.001, help="of each doubling of the net's weights (0.001)")
    args = parser.parse_args()
    if not 0 < args.holdout < 1:
        raise StepError(f"--holdout is {args.holdout}; it must be between 0 and 1")
    params = params_of(args.params)
    shape = Shape(dict(params))
    learner = Learner("neural_net", params)
    survivors = survivors_of(args)
    scored = scored_features(survivors)
    if scored is None:
        looked = look_at(args, survivors, read_draws(args.draws), Parts(1 - args.holdout), Scoring())
        names, features, targets = list(NAMES), looked.features, looked.target
    else:
        names, features, targets = scored
    sizes = [len(names), *shape.layers, 1]
    weights = sum((before + 1) * after for before, after in zip(sizes, sizes[1:]))
    learned = cross_validate(learner, features, targets, args.folds, args.seed)
    return {
        "value": learned.value - args.price * math.log2(weights),
        "params": params,
        "seed": args.seed,
        "r_squared": learned.value,
        "weights": weights,
        "layers": shape.layers,
        "survivors": len(survivors),
    }


if __name__ == "__main__":
    run(main)
