#!/usr/bin/env python3
"""Draws a study as SVG, from its own storage: `study_picture.py sqlite:///studies.db NAME > out.svg`.

Each trial is a dot in its model's colour, each model's best so far a line, the best of all a ring;
trials that failed are crosses below. It needs what studies need, and nothing else."""

from __future__ import annotations

import sys
from html import escape

import optuna

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 40, 60
# Told apart by those who see no red or no green too, on white and on black (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")


def ticks(low: float, high: float) -> list[float]:
    """Four to eight round values between two others."""
    step = 10.0 ** len(str(int(high - low)))
    while True:
        for part in (1.0, 0.5, 0.2):
            values = [n * step * part for n in range(int(low / step / part) - 1, int(high / step / part) + 2)]
            values = [value for value in values if low <= value <= high]
            if len(values) >= 4:
                return values
        step /= 10


def picture(study: optuna.Study) -> str:
    trials = study.get_trials(deepcopy=False)
    good = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    failed = [t for t in trials if t.state == optuna.trial.TrialState.FAIL]
    if not good:
        raise SystemExit(f"the study {study.study_name} has no trial that went well")

    def model(trial: optuna.trial.FrozenTrial) -> str:
        return trial.user_attrs.get("rigqueue:trial", {}).get("model", "trials")

    models = sorted({model(trial) for trial in good + failed})
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(models)}
    values = [t.value for t in good]
    low, high = min(values), max(values)
    # A few trials that went astray would press all others together.
    if len(values) >= 8:
        quarter, half = sorted(values)[len(values) // 4], sorted(values)[len(values) // 2]
        low = max(low, quarter - 3 * (high - half + half - quarter))
    room = (high - low) * 0.06 or 0.5
    low, high = low - room, high + room

    def x(number: float) -> float:
        return LEFT + (number + 0.5) / len(trials) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (max(value, low) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="#808080" role="img">',
        f"<title>{escape(study.study_name)}: the value of each trial</title>",
        f'<text x="{LEFT}" y="20" font-size="14">{escape(study.study_name)}: value of each trial, '
        f"higher is better</text>",
    ]
    for value in ticks(low, high):
        out.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#808080" stroke-opacity=".3"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.6g}</text>')
    every = max(1, len(trials) // 10)
    for number in range(0, len(trials), every):
        out.append(f'<text x="{x(number):.1f}" y="{HEIGHT - BOTTOM + 36}" text-anchor="middle">{number}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">trial</text>')
    best = max(good, key=lambda trial: (trial.value, -trial.number))
    for place, name in enumerate(models):
        own = [trial for trial in good if model(trial) == name]
        colour = colours[name]
        path, so_far = "", None
        for trial in own:
            if so_far is None:
                path = f"M{x(trial.number):.1f} {y(trial.value):.1f}"
            elif trial.value > so_far:
                path += f"H{x(trial.number):.1f}V{y(trial.value):.1f}"
            so_far = trial.value if so_far is None else max(so_far, trial.value)
        if own:
            out.append(f'<path d="{path}H{x(len(trials) - 1):.1f}" stroke="{colour}" stroke-width="2" fill="none"/>')
        for trial in own:
            said = f"trial {trial.number}, {name}: {trial.value:.6g}"
            below = ' fill-opacity=".4"' if trial.value < low else ""
            out.append(
                f'<circle cx="{x(trial.number):.1f}" cy="{y(trial.value):.1f}" r="4" fill="{colour}"{below}>'
                f"<title>{escape(said)}</title></circle>"
            )
        for trial in (trial for trial in failed if model(trial) == name):
            said = f"trial {trial.number}, {name}: {trial.user_attrs.get('rigqueue:outcome', {}).get('failure')}"
            out.append(
                f'<path d="M{x(trial.number) - 4:.1f} {HEIGHT - BOTTOM + 10}l8 8m0-8l-8 8" stroke="{colour}" '
                f'stroke-width="2"><title>{escape(said)}</title></path>'
            )
        top = TOP + 20 * place + 8
        said = f"{name} {so_far:.4g}" if so_far is not None else f"{name}: failed"
        out.append(f'<circle cx="{WIDTH - RIGHT + 18}" cy="{top - 4}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 28}" y="{top}">{escape(said)}</text>')
    out.append(
        f'<circle cx="{x(best.number):.1f}" cy="{y(best.value):.1f}" r="9" fill="none" '
        f'stroke="{colours[model(best)]}" stroke-width="2"/>'
    )
    return "\n".join([*out, "</svg>"])


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(picture(optuna.load_study(storage=sys.argv[1], study_name=sys.argv[2])))


if __name__ == "__main__":
    main()
