#!/usr/bin/env python3
"""Step 2.5: how good are these scoring parameters? Survivors are scored on the older draws, and the
parameters are worth as much as that ranks them as the newer draws do (Spearman's rho)."""

from __future__ import annotations

from typing import Any

from rigqueue_steps.asked import look_at, of_trials, survivors_of
from rigqueue_steps.features import Parts, Scoring, rank_correlation
from rigqueue_steps.inputs import read_draws
from rigqueue_steps.trial import StepError, params_of, run


def main() -> dict[str, Any]:
    parser = of_trials(__doc__)
    parser.add_argument("--holdout", type=float, default=0.3, metavar="SHARE", help="the newer draws (0.3)")
    args = parser.parse_args()
    if not 0 < args.holdout < 1:
        raise StepError(f"--holdout is {args.holdout}; it must be between 0 and 1")
    params = params_of(args.params)
    scoring = Scoring.of(params)
    survivors = survivors_of(args)
    if len(survivors) < 3:
        raise StepError(f"there are {len(survivors)} survivors to rank: at least 3 are needed")
    looked = look_at(args, survivors, read_draws(args.draws), Parts(1 - args.holdout), scoring)
    return {
        "value": rank_correlation(looked.score, looked.target),
        "params": params,
        "seed": args.seed,
        "survivors": len(survivors),
        "best": survivors[int(looked.score.argmax())].seed,
    }


if __name__ == "__main__":
    run(main)
