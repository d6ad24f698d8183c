"""What a survivor's sequence says of draws: features, and scores by parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .inputs import Survivor
from .streams import reach, sequences, typical_skip
from .trial import Params, StepError

BLOCK = 1 << 20  # Values that are looked at together: what memory it takes does not grow.
RESIDUES = (2, 5, 8, 10, 125)  # A generator that is nearly right agrees modulo some of these.
LEAST = 4  # Draws that each part of a split must have.

# Of the draws that features may look at.
OF_DRAWS = (
    "matches", "match_rate", "window_rate", "after_rate", "recent_rate", "longest_run", "longest_gap",
    *(f"agree_{residue}" for residue in RESIDUES),
    "closeness", "closeness_spread", "correlation", "ahead_rate", "behind_rate",
)  # fmt: skip
# Of the sequence and of the sieve's record.
OF_SEED = ("mean", "spread", "autocorrelation", "skip", "skip_spread", "sieve_rate", "reverse_rate", "strategy")
NAMES = OF_DRAWS + OF_SEED

SCORING = "match, agree_8, agree_125, closeness, recency, depth"


class Scoring(NamedTuple):
    """The parameters of a score (step 2.5 looks for good ones)."""

    match: float = 1.0  # Weight of the share of draws that match.
    agree_8: float = 0.3  # Weight of the share that agrees modulo 8, above what chance leaves.
    agree_125: float = 0.3  # The same modulo 125.
    closeness: float = 0.1  # Weight of how close values are to draws, from -1 to 1.
    recency: float = 0.0  # 0: all draws count the same; 1: the last counts e times the first.
    depth: int = 500  # How many of the latest draws count at most.

    @classmethod
    def of(cls, params: dict[str, Any]) -> Scoring:
        taken, usual = Params(params), cls()
        scoring = cls(
            match=taken.number("match", usual.match, -1000.0, 1000.0),
            agree_8=taken.number("agree_8", usual.agree_8, -1000.0, 1000.0),
            agree_125=taken.number("agree_125", usual.agree_125, -1000.0, 1000.0),
            closeness=taken.number("closeness", usual.closeness, -1000.0, 1000.0),
            recency=taken.number("recency", usual.recency, -10.0, 10.0),
            depth=taken.whole("depth", usual.depth, LEAST, 1 << 24),
        )
        taken.end(SCORING)
        return scoring

    def score(self, values: np.ndarray, draws: np.ndarray, modulus: int) -> np.ndarray:
        """The score of each line of values against draws: 0 is what chance leaves, about."""
        values, draws = values[:, -self.depth :], draws[-self.depth :]
        length = len(draws)
        weights = np.exp(self.recency * np.linspace(-1.0, 0.0, length))
        weights /= weights.sum()
        score = self.match * ((values == draws) @ weights - 1 / modulus)
        for weight, residue in ((self.agree_8, 8), (self.agree_125, 125)):
            if weight:
                score += weight * ((values % residue == draws % residue) @ weights - 1 / residue)
        if self.closeness:
            score += self.closeness * (1 - 2 * distance(values, draws, modulus) @ weights)
        return score


class Parts(NamedTuple):
    """Where the draws from a window on are cut: features look at those before the first cut,
    targets at those between the two. Shares of their number, or a number of draws of the file."""

    old: float
    new: float = 1.0
    train: int | None = None  # Instead of `old`: the file's draws before this one.

    def cut(self, survivor: Survivor, draws: np.ndarray, count: int) -> tuple[int, int]:
        """The cuts, of `count` draws."""
        old, new = round(count * self.old), round(count * self.new)
        if self.train is not None:
            start = min(survivor.start, len(draws) - min(survivor.window, len(draws)))
            share = round(count * self.train / len(draws))
            old = share if survivor.reverse else min(count, self.train - start)
        if old < LEAST or (self.new > self.old and new - old < LEAST):
            raise StepError(
                f"of the {count} draws from the window on, {max(old, 0)} are for features and "
                f"{max(new - old, 0)} for targets: at least {LEAST} of each are needed"
            )
        return old, new


class Looked(NamedTuple):
    """What came of survivors: a line each."""

    features: np.ndarray  # As NAMES.
    score: np.ndarray  # On the same draws as the features.
    target: np.ndarray  # On the draws after those, which the features have not seen.
    target_matches: np.ndarray  # How many of those draws matched.
    target_length: np.ndarray  # How many there are.


def distance(values: np.ndarray, draws: np.ndarray, modulus: int) -> np.ndarray:
    """How far values are from draws around the circle, from 0 to 1."""
    apart = np.abs(values.astype(np.float32) - draws.astype(np.float32))
    return np.minimum(apart, modulus - apart) * np.float32(2 / modulus)


def aligned(survivor: Survivor, draws: np.ndarray) -> np.ndarray:
    """The draws that a survivor's sequence is compared with, in its order: from its window's first
    draw on; for one found in reverse order from its window's last draw back."""
    window = min(survivor.window, len(draws))
    start = min(survivor.start, len(draws) - window)
    return draws[: start + window][::-1] if survivor.reverse else draws[start:]


def look(
    survivors: Sequence[Survivor], draws: np.ndarray, parts: Parts, scoring: Scoring, depth: int
) -> Looked:
    """Features, scores and targets of survivors: their sequences run over the draws from their
    window on, at most `depth` of them."""
    groups: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, survivor in enumerate(survivors):
        wanted = min(len(aligned(survivor, draws)), max(depth, survivor.window))
        key = (survivor.family, survivor.modulus, survivor.reverse, survivor.start, survivor.window)
        reached = (*key, reach(survivor, wanted))
        groups[reached].append(index)
    rows = len(survivors)
    looked = Looked(
        np.zeros((rows, len(NAMES))), np.zeros(rows), np.zeros(rows),
        np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64),
    )  # fmt: skip
    for (_, modulus, _, _, window, count), indices in groups.items():
        history = (aligned(survivors[indices[0]], draws)[:count] % np.uint64(modulus)).astype(np.uint32)
        old, new = parts.cut(survivors[indices[0]], draws, count)
        block = max(1, BLOCK // count)
        for begin in range(0, len(indices), block):
            chosen = indices[begin : begin + block]
            some = [survivors[index] for index in chosen]
            values = sequences(some, history, count)
            looked.features[chosen, : len(OF_DRAWS)] = of_draws(values[:, :old], history[:old], modulus, window)
            looked.features[chosen, len(OF_DRAWS) :] = of_seed(some, values[:, :old], modulus)
            looked.score[chosen] = scoring.score(values[:, :old], history[:old], modulus)
            if new > old:
                unseen, later = values[:, old:new], history[old:new]
                looked.target[chosen] = Scoring().score(unseen, later, modulus)
                looked.target_matches[chosen] = (unseen == later).sum(axis=1)
                looked.target_length[chosen] = new - old
    return looked


def of_draws(values: np.ndarray, draws: np.ndarray, modulus: int, window: int) -> np.ndarray:
    """The features OF_DRAWS of each line of values."""
    rows, length = values.shape
    match = values == draws
    window = min(window, length)
    recent = max(1, length // 4)
    apart = distance(values, draws, modulus)
    columns = [
        match.sum(axis=1),
        match.mean(axis=1),
        match[:, :window].mean(axis=1),
        match[:, window:].mean(axis=1) if length > window else np.zeros(rows),
        match[:, -recent:].mean(axis=1),
        longest(match),
        longest(~match),
        *((values % residue == draws % residue).mean(axis=1) for residue in RESIDUES),
        1 - apart.mean(axis=1),
        apart.std(axis=1),
        correlations(values, draws),
        (values[:, 1:] == draws[:-1]).mean(axis=1),
        (values[:, :-1] == draws[1:]).mean(axis=1),
    ]
    return np.column_stack(columns)


def of_seed(survivors: Sequence[Survivor], values: np.ndarray, modulus: int) -> np.ndarray:
    """The features OF_SEED of survivors and their sequences."""
    scaled = values.astype(np.float32) / np.float32(modulus)
    told = []
    for survivor in survivors:
        record = survivor.record
        rate = record.get("rate", record.get("match_rate"))
        if rate is None:
            rate = record.get("matches", 0) / max(1, survivor.window)
        reverse = (record.get("reverse") or {}).get("rate", 0.0)
        spread = float(np.std(survivor.skips)) if survivor.skips else 0.0
        strategy = -1 if survivor.strategy is None else survivor.strategy
        told.append((typical_skip(survivor), spread, float(rate or 0.0), float(reverse or 0.0), strategy))
    return np.column_stack([scaled.mean(axis=1), scaled.std(axis=1), autocorrelations(scaled), np.array(told)])


def longest(marks: np.ndarray) -> np.ndarray:
    """The length of the longest run of true in each line."""
    length = marks.shape[1]
    places = np.arange(1, length + 1, dtype=np.int32)
    ended = np.maximum.accumulate(np.where(marks, 0, places), axis=1)
    return np.where(marks, places - ended, 0).max(axis=1)


def correlations(values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Pearson's r of each line with the draws; 0 where there is none."""
    lines = values.astype(np.float64) - values.mean(axis=1, keepdims=True)
    line = draws.astype(np.float64) - draws.mean()
    scale = np.sqrt((lines**2).sum(axis=1) * (line**2).sum())
    return np.divide(lines @ line, scale, out=np.zeros(len(values)), where=scale > 0)


def autocorrelations(scaled: np.ndarray) -> np.ndarray:
    """The correlation of each line with itself one place on; 0 where there is none."""
    lines = scaled - scaled.mean(axis=1, keepdims=True)
    scale = (lines**2).sum(axis=1)
    products = (lines[:, 1:] * lines[:, :-1]).sum(axis=1)
    return np.divide(products, scale, out=np.zeros(len(scaled), scale.dtype), where=scale > 0)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, equal values sharing the mean of theirs."""
    distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    del distinct
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[places]


def rank_correlation(left: np.ndarray, right: np.ndarray) -> float:
    """Spearman's rho; 0 where one of the two is constant."""
    return float(correlations(ranks(left)[None, :], ranks(right))[0])

