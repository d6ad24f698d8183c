"""The arguments that the scripts share, and what they stand for."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from .features import Looked, Parts, Scoring, look
from .inputs import MODULUS, Survivor, read_survivors, sampled
from .trial import Arguments

DEPTH = 1000  # Draws that a trial looks at unless it is told otherwise.


def of_survivors(about: str | None) -> argparse.ArgumentParser:
    """Arguments of whatever takes survivors."""
    parser = Arguments(description=about)
    add = parser.add_argument
    add("--survivors", required=True, nargs="+", metavar="FILE", help="survivors' records; files are put together")
    add("--family", help="of survivors whose records name none")
    add("--modulus", type=int, default=MODULUS, help="the same")
    add("--offset", type=int, default=0, help="the same")
    return parser


def of_trials(about: str | None) -> argparse.ArgumentParser:
    """Arguments of a trial."""
    parser = of_survivors(about)
    add = parser.add_argument
    add("--draws", required=True, metavar="FILE", help="the draws: the fleet's JSON, or a list of integers")
    add("--params", default="{}", metavar="JSON", help="the trial's parameters, an object")
    add("--seed", type=int, default=42, help="of whatever is chosen by chance")
    add("--sample-size", type=int, metavar="N", help="take so many of the survivors")
    add("--depth", type=int, default=DEPTH, metavar="N", help=f"look at so many draws from the window on ({DEPTH})")
    return parser


def survivors_of(args: argparse.Namespace) -> list[Survivor]:
    """The survivors that a trial works on."""
    every = read_survivors(args.survivors, args.family, args.modulus, args.offset)
    return sampled(every, args.sample_size, args.seed)


def look_at(
    args: argparse.Namespace, survivors: list[Survivor], draws: np.ndarray, parts: Parts, scoring: Scoring
) -> Looked:
    """Features, scores and targets, as deep as the arguments say."""
    return look(survivors, draws, parts, scoring, args.depth)


def rows_of(looked: Looked, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Features by name, a record for each survivor."""
    return [dict(zip(names, line)) for line in looked.features.tolist()]
