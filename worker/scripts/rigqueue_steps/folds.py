"""Learning in folds: what each survivor's target is guessed to be by a model that never saw it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .inputs import Survivor
from .models import Learner
from .trial import StepError


class Learned(NamedTuple):
    """What k folds came to."""

    value: float  # R squared over all guesses; 0 is what guessing the mean scores.
    error: float  # Root of the mean square.
    folds: list[float]  # R squared of each.


def r_squared(targets: np.ndarray, guesses: np.ndarray) -> float:
    """The share of the targets' variance that guesses explain; 0 where there is none to explain."""
    total = float(((targets - targets.mean()) ** 2).sum())
    left = float(((targets - guesses) ** 2).sum())
    return 1 - left / total if total > 1e-18 else 0.0


def cross_validate(learner: Learner, features: np.ndarray, targets: np.ndarray, folds: int, seed: int) -> Learned:
    """Learns `folds` times, each time without one part of the rows, and guesses that part."""
    rows = len(targets)
    if not 2 <= folds <= rows // 2:
        raise StepError(f"{rows} survivors can't be cut into {folds} folds: 2 to {max(2, rows // 2)} are possible")
    order = np.random.default_rng(seed).permutation(rows)
    guesses = np.empty(rows)
    each = []
    for part in np.array_split(order, folds):
        rest = np.setdiff1d(order, part)
        guesses[part] = learner.fit(features[rest], targets[rest], seed).predict(features[part])
        each.append(r_squared(targets[part], guesses[part]))
    error = float(np.sqrt(((targets - guesses) ** 2).mean()))
    return Learned(r_squared(targets, guesses), error, each)




def scored_features(survivors: list[Survivor]) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Features and targets out of `full_scoring.py`'s records; None where they have none.
    The target is the holdout's score where there is one, and never among the features."""
    records = [survivor.record for survivor in survivors]
    if not any("features" in record for record in records):
        return None
    names = sorted(name for name in records[0].get("features", {}) if not name.startswith("holdout_"))
    features, targets = [], []
    for record in records:
        own = record.get("features")
        if not isinstance(own, dict) or any(name not in own for name in names):
            raise StepError(f"the survivor {record['seed']} lacks features that others have: score them together")
        features.append([own[name] for name in names])
        target = own.get("holdout_score", record.get("score"))
        targets.append(target)
    try:
        return names, np.array(features, dtype=np.float64), np.array(targets, dtype=np.float64)
    except (TypeError, ValueError):
        raise StepError("the survivors' features or scores are not all numbers") from None
