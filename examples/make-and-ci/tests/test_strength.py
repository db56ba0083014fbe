import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "app"))

from strength import bits, verdict  # noqa: E402 (the line above lets Python find it)


class StrengthTest(unittest.TestCase):
    def test_nothing_withstands_nothing(self):
        self.assertEqual(bits(""), 0.0)

    def test_each_alphabet_adds_to_the_search_space(self):
        self.assertLess(bits("aaaaaaaa"), bits("aaaaaaaA"))
        self.assertLess(bits("aaaaaaaA"), bits("aaaaaa1A"))
        self.assertLess(bits("aaaaaa1A"), bits("aaaaa-1A"))

    def test_verdicts(self):
        self.assertEqual(verdict("rain"), "weak")
        self.assertEqual(verdict("rain on the roof"), "strong")
        self.assertEqual(verdict("Rain-on-roof"), "fair")


if __name__ == "__main__":
    unittest.main()
