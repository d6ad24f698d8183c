"""Draws and survivors as files have them."""

import tempfile
import unittest
from pathlib import Path

from rigqueue_steps.inputs import read_draws, read_survivors, sampled, survivor_of
from rigqueue_steps.trial import StepError
from tests.planted import record, written


class Inputs(unittest.TestCase):
    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.folder = Path(held.name)

    def test_draws_are_read_in_every_shape(self) -> None:
        fleet = [{"date": "d", "session": "noon", "draw": 8}, {"draw": 1, "full_state": 1 << 63}, {"draw": "007"}]
        self.assertEqual(read_draws(written(self.folder, "d", fleet)).tolist(), [8, 1 << 63, 7])
        self.assertEqual(read_draws(written(self.folder, "d", [5, 6])).tolist(), [5, 6])
        lines = self.folder / "lines"
        lines.write_text("5\n006\n")
        self.assertEqual(read_draws(str(lines)).tolist(), [5, 6])
        for bad, words in ([], "no list"), ([{"date": "d"}], "entry 1"), ([1, -1], "entry 2"), ([True], "entry 1"):
            with self.assertRaisesRegex(StepError, words):
                read_draws(written(self.folder, "d", bad))
        with self.assertRaisesRegex(StepError, "can't be read"):
            read_draws("/no/such/file")

    def test_survivors_of_several_files_are_put_together(self) -> None:
        one = written(self.folder, "one", [record(9), record(4)])
        two = written(self.folder, "two", [record(9, features={"a": 1.0}), record(5)])
        both = read_survivors([one, two])
        self.assertEqual([survivor.seed for survivor in both], [4, 5, 9])
        self.assertIn("features", both[2].record)
        self.assertEqual((both[0].offset, both[0].start, both[0].window, both[0].skip), (3, 3, 12, 2))
        with self.assertRaisesRegex(StepError, "there are no survivors"):
            read_survivors([written(self.folder, "none", [])])

    def test_what_an_exported_record_lacks_is_told(self) -> None:
        exported = {"seed": 1, "total": 8, "best_skip": 3, "skip_sequence": [3, 4], "strategy_id": 1}
        survivor = survivor_of(exported, "minstd", 100, 7)
        self.assertEqual((survivor.family, survivor.modulus, survivor.offset), ("minstd", 100, 7))
        self.assertEqual((survivor.window, survivor.skip), (8, 3))
        self.assertEqual((survivor.skips, survivor.strategy), ((3, 4), 1))
        with self.assertRaisesRegex(StepError, "--family"):
            survivor_of({"seed": 1})
        with self.assertRaisesRegex(StepError, "no seed"):
            survivor_of([1])

    def test_a_sample_is_the_same_for_the_same_seed(self) -> None:
        survivors = [survivor_of(record(seed)) for seed in range(100)]
        chosen = sampled(survivors, 10, 3)
        self.assertEqual(chosen, sampled(survivors, 10, 3))
        self.assertNotEqual(chosen, sampled(survivors, 10, 4))
        self.assertEqual(len({survivor.seed for survivor in chosen}), 10)
        self.assertIs(sampled(survivors, None, 3), survivors)


if __name__ == "__main__":
    unittest.main()
