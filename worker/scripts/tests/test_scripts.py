"""The scripts as processes: their last line, their exit code, what they write."""

import json
import math
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from tests.planted import SEED, draws, mixed, record, records, written

SCRIPTS = Path(__file__).resolve().parents[1]
SMALL = {
    "neural_net": {"layers": "16-8", "epochs": 40},
    "lightgbm": {"n_estimators": 40, "num_leaves": 7},
    "xgboost": {"n_estimators": 40, "max_depth": 3},
    "catboost": {"iterations": 40, "depth": 3},
}


def script(name: str, *args: str, **env: str) -> tuple[int, dict[str, Any], str]:
    """Runs a script: its exit code, its last line, its stderr."""
    command = [sys.executable, str(SCRIPTS / name), *args]
    own = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    said = subprocess.run(command, capture_output=True, text=True, env=own, check=False)
    lines = said.stdout.strip().splitlines()
    return said.returncode, json.loads(lines[-1]) if lines else {}, said.stderr


class Scripts(unittest.TestCase):
    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)

    def ok(self, name: str, *args: str, **env: str) -> dict[str, Any]:
        code, said, errors = script(name, *args, **env)
        self.assertEqual((code, said.get("status")), (0, "ok"), f"{said} {errors}")
        self.assertGreater(said["seconds"], 0)
        return said

    def trial(self, name: str, *args: str, **env: str) -> dict[str, Any]:
        said = self.ok(name, *args, **env)
        self.assertTrue(math.isfinite(said["value"]))
        return said

    def mixed(self, count: int) -> list[str]:
        some, history = mixed(count)
        return ["--survivors", written(self.folder, "s.json", some), "--draws", written(self.folder, "d.json", history)]

    def test_good_scoring_parameters_are_worth_more(self) -> None:
        files = self.mixed(60)
        good = self.trial("scorer_trial.py", *files, "--params", '{"match": 1}', "--seed", "1")
        bad = self.trial("scorer_trial.py", *files, "--params", '{"match": -1}', "--seed", "1")
        self.assertGreater(good["value"], bad["value"] + 0.5)
        self.assertEqual((good["params"], good["seed"], good["survivors"]), ({"match": 1}, 1, 60))
        again = self.trial("scorer_trial.py", *files, "--sample-size", "20", "--seed", "1")
        same = self.trial("scorer_trial.py", *files, "--sample-size", "20", "--seed", "1")
        self.assertEqual((again["value"], again["survivors"]), (same["value"], 20))

    def test_every_survivor_of_a_chunk_is_scored(self) -> None:
        history = draws()
        chunk = [*records(30), record(77, 5, skips=[5, 4, 6], strategy=1, window=3)]
        chunk = written(self.folder, "chunk.json", chunk)
        older, newer = written(self.folder, "older", history[:300]), written(self.folder, "newer", history[300:])
        out = self.folder / "out.json"
        files = ["--survivors", chunk, "--output", str(out)]
        self.ok("full_scoring.py", *files, "--train-history", older, "--holdout-history", newer)
        scored = json.loads(out.read_text())
        self.assertEqual([entry["seed"] for entry in scored], sorted(entry["seed"] for entry in scored))
        best = max(scored, key=lambda entry: entry["score"])
        self.assertEqual((best["seed"], best["features"]["match_rate"], len(scored)), (SEED, 1.0, 31))
        self.assertEqual((best["features"]["holdout_matches"], best["skip"]), (100, 2))
        # The same in one file, and without what has been held out.
        both = written(self.folder, "both", history)
        self.ok("full_scoring.py", *files, "--draws", both, "--holdout", "0")
        whole = max(json.loads(out.read_text()), key=lambda entry: entry["score"])
        self.assertEqual(whole["features"]["matches"], 397)
        self.assertNotIn("holdout_matches", whole["features"])

    def test_each_model_learns_and_says_the_same_again(self) -> None:
        files = self.mixed(300)
        for model, params in SMALL.items():
            with self.subTest(model):
                saved = self.folder / model
                args = [*files, "--model", model, "--params", json.dumps(params), "--seed", "5"]
                said = self.trial("train_trial.py", *args, "--save", str(saved))
                self.assertGreater(said["value"], 0.3, said)
                self.assertEqual((said["model"], said["device"], len(said["folds"])), (model, "cpu", 3))
                self.assertGreater(saved.stat().st_size, 500)
                about = json.loads((self.folder / f"{model}.meta.json").read_text())
                self.assertEqual((about["value"], about["model"]), (said["value"], model))
                self.assertIn("match_rate", about["features"])
                again = self.trial("train_trial.py", *args, OMP_NUM_THREADS="2")
                self.assertEqual(again["value"], said["value"])
                self.assertEqual(again["holdout_value"], said["holdout_value"])

    def test_scored_survivors_are_learned_from_as_they_are(self) -> None:
        files = self.mixed(120)
        out = str(self.folder / "scored.json")
        self.ok("full_scoring.py", *files, "--output", out)
        args = ["--survivors", out, "--draws", files[3], "--model", "lightgbm", "--seed", "2"]
        said = self.trial("train_trial.py", *args, "--folds", "4", "--sample-size", "100")
        self.assertEqual((said["holdout_by"], said["survivors"], len(said["folds"])), ("records", 100, 4))
        self.assertIsNotNone(said["holdout_value"])
        without = self.trial("train_trial.py", *args, "--holdout", "0")
        self.assertIsNone(without["holdout_value"])

    def test_an_architecture_is_worth_less_the_larger_it_is(self) -> None:
        files = self.mixed(90)
        params = {"layers": 2, "units": 8, "epochs": 30}
        said = self.trial("adaptive_meta.py", *files, "--params", json.dumps(params), "--seed", "3")
        self.assertEqual((said["layers"], said["params"]), ([8, 8], params))
        self.assertLess(said["value"], said["r_squared"])

    def test_a_gpu_that_can_t_be_used_is_done_without(self) -> None:
        files = self.mixed(40)
        bound = {"CUDA_VISIBLE_DEVICES": "GPU-1", "RIGQUEUE_DEVICE": "GPU-1"}
        for model in ["xgboost", "catboost", "neural_net"]:
            args = [*files, "--model", model, "--params", json.dumps(SMALL[model])]
            code, said, errors = script("train_trial.py", *args, **bound)
            self.assertEqual((code, said["device"]), (0, "cpu"), errors)
            self.assertIn("does without the GPU", errors)
            self.assertEqual(said["value"], self.trial("train_trial.py", *args)["value"])

    def test_failures_are_one_line(self) -> None:
        files = self.mixed(20)
        train = ["--model", "lightgbm"]
        for name, args, words in [
            ("train_trial.py", [*files, "--model", "svm"], "invalid choice"),
            ("train_trial.py", [*files, *train, "--params", "{"], "no JSON"),
            ("train_trial.py", [*files, *train, "--folds", "30"], "folds"),
            ("train_trial.py", [*files, *train, "--params", '{"num_leaves": -5}'], "num_leaves"),
            ("train_trial.py", [*files, "--model", "neural_net", "--params", '{"layrs": 1}'], "'layrs'"),
            ("train_trial.py", ["--survivors", "/none", *files[2:], *train], "/none"),
            ("scorer_trial.py", [*files, "--params", '{"match": 1e9}'], "match"),
            ("scorer_trial.py", files[:2], "--draws"),
            ("full_scoring.py", [*files[:2], "--output", "x"], "--train-history"),
            ("adaptive_meta.py", [*files, "--params", '{"layers": []}'], "layers"),
        ]:
            with self.subTest(words):
                code, said, _ = script(name, *args)
                self.assertEqual((code, said["status"]), (1, "error"), said)
                self.assertIn(words, said["message"])
                self.assertNotIn("\n", said["message"])
        code, said, _ = script("scorer_trial.py", *files, RIGQUEUE_RUNNER="/no/runner")
        self.assertEqual(code, 1)
        self.assertIn("RIGQUEUE_RUNNER", said["message"])


if __name__ == "__main__":
    unittest.main()
