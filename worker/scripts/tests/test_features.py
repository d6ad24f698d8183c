"""Sequences, features and scores."""

import unittest

import numpy as np

from rigqueue_steps.features import (
    NAMES,
    Parts,
    Scoring,
    aligned,
    longest,
    look,
    rank_correlation,
    ranks,
)
from rigqueue_steps.inputs import survivor_of
from rigqueue_steps.streams import ROW, outputs, sequences
from rigqueue_steps.trial import StepError
from tests.planted import OFFSET, SEED, SKIP, WINDOW, draws, record, records


def java(seed: int, count: int) -> list[int]:
    """java.util.Random's nextInt(1000), after its specification."""
    state, values = (seed ^ 0x5DEECE66D) & ((1 << 48) - 1), []
    while len(values) < count:
        state = (state * 0x5DEECE66D + 11) & ((1 << 48) - 1)
        bits = state >> 17
        if bits - bits % 1000 + 999 < 1 << 31:
            values.append(bits % 1000)
    return values


class Streams(unittest.TestCase):
    def test_rows_are_what_the_specification_says(self) -> None:
        rows = np.array([(SEED, SKIP, OFFSET), (5, 0, 0)], dtype=ROW)
        told = outputs("java_random", rows, 50, 1000)
        first = java(SEED, 200)
        self.assertEqual(told[0].tolist(), [first[OFFSET + SKIP + i * (SKIP + 1)] for i in range(50)])
        self.assertEqual(told[1].tolist(), java(5, 50))
        raw = outputs("mt19937", np.array([(5489, 0, 9999)], dtype=ROW), 1, None)
        # The 10,000th output of a default std::mt19937 (ISO C++ 26.6.6).
        self.assertEqual(raw.tolist(), [[4123659995]])
        with self.assertRaisesRegex(StepError, "48-bit"):
            outputs("java_random", np.array([(1 << 48, 0, 0)], dtype=ROW), 1, 1000)

    def test_variable_skips_are_walked(self) -> None:
        plain = java(SEED, 400)[OFFSET:]
        # The third draw is missed: the walk passes over what it expected, 4, and the tolerance, 5.
        places = [7, 12, None, 12 + 1 + 4 + 5 + 6]
        history = [plain[place] if place is not None else 1000 for place in places]
        survivor = survivor_of(record(SEED, 7, skips=[7, 4, 4, 6], strategy=0, window=4))
        told = sequences([survivor], np.array(history + [0] * 6), 10)[0].tolist()
        self.assertEqual([told[0], told[1], told[3]], [history[0], history[1], history[3]])
        self.assertNotEqual(told[2], history[2])
        # It goes on by the median of its skips, 6.
        self.assertEqual(told[4:], [plain[28 + 7 * n] for n in range(1, 7)])


class Features(unittest.TestCase):
    def test_the_seed_behind_the_draws_stands_out(self) -> None:
        survivors = [survivor_of(entry) for entry in records(50)]
        looked = look(survivors, np.array(draws(), dtype=np.uint64), Parts(0.7), Scoring(), 1000)
        self.assertEqual(looked.features.shape, (50, len(NAMES)))
        self.assertTrue(np.isfinite(looked.features).all())
        named = dict(zip(NAMES, looked.features[0]))
        length = round((400 - OFFSET) * 0.7)
        for name, value in {
            "matches": length, "match_rate": 1, "window_rate": 1, "after_rate": 1, "recent_rate": 1,
            "longest_run": length, "longest_gap": 0, "agree_8": 1, "closeness": 1, "correlation": 1,
            "skip": SKIP, "strategy": -1,
        }.items():  # fmt: skip
            self.assertAlmostEqual(named[name], value, places=5, msg=name)
        self.assertEqual(int(looked.score.argmax()), 0)
        self.assertEqual(looked.target_matches[0], looked.target_length[0])
        self.assertGreater(looked.target[0], 10 * np.abs(looked.target[1:]).max())

    def test_what_comes_later_is_not_looked_at(self) -> None:
        survivors = [survivor_of(entry) for entry in records(20)]
        history = np.array(draws(), dtype=np.uint64)
        spoiled = history.copy()
        cut = OFFSET + round((400 - OFFSET) * 0.5)
        spoiled[cut:] = 999 - spoiled[cut:]
        before = look(survivors, history, Parts(0.5), Scoring(), 1000)
        after = look(survivors, spoiled, Parts(0.5), Scoring(), 1000)
        np.testing.assert_array_equal(before.features, after.features)
        np.testing.assert_array_equal(before.score, after.score)
        self.assertFalse((before.target == after.target).any())

    def test_reverse_survivors_run_backwards(self) -> None:
        history = np.arange(100)
        forward = survivor_of(record(1))
        self.assertEqual(aligned(forward, history).tolist(), list(range(OFFSET, 100)))
        reverse = survivor_of(record(1, direction="reverse"))
        self.assertEqual(aligned(reverse, history).tolist(), list(range(OFFSET + WINDOW - 1, -1, -1)))

    def test_histories_are_cut_where_the_file_ends(self) -> None:
        survivors = [survivor_of(record(SEED))]
        history = np.array(draws(), dtype=np.uint64)
        looked = look(survivors, history, Parts(0.5, train=300), Scoring(), 1 << 24)
        self.assertEqual((looked.features[0, 0], looked.target_length[0]), (300 - OFFSET, 100))
        with self.assertRaisesRegex(StepError, "at least 4"):
            look(survivors, history, Parts(0.5, train=OFFSET + 2), Scoring(), 1 << 24)

    def test_runs_ranks_and_their_correlation(self) -> None:
        marks = np.array([[1, 1, 0, 1, 1, 1, 0], [0] * 7, [1] * 7], dtype=bool)
        self.assertEqual(longest(marks).tolist(), [3, 0, 7])
        self.assertEqual(ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist(), [2.5, 0.0, 2.5, 1.0])
        self.assertAlmostEqual(rank_correlation(np.array([1, 2, 3, 9]), np.array([1, 4, 9, 10])), 1.0)
        self.assertEqual(rank_correlation(np.array([1, 1, 1]), np.array([1, 2, 3])), 0.0)

    def test_scoring_parameters_are_checked(self) -> None:
        self.assertEqual(Scoring.of({"match": 2, "depth": 50}).depth, 50)
        bad = {"mtach": 1}, {"depth": 1.5}, {"match": "x"}
        for params, words in zip(bad, ["no parameter 'mtach'", "4 to", "'x'"]):
            with self.assertRaisesRegex(StepError, words):
                Scoring.of(params)


if __name__ == "__main__":
    unittest.main()
