import random
import unittest
from types import SimpleNamespace

from formula import Metric, PluginError, edit_distance


def sample(response: str, *references: str) -> SimpleNamespace:
    return SimpleNamespace(id="7", response=response, references=list(references))


def table_distance(a: str, b: str) -> int:
    """The textbook's table, a row at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        diagonal, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            diagonal, row[j + 1] = row[j + 1], min(diagonal + (x != y), row[j] + 1, row[j + 1] + 1)
    return row[-1]


class FormulaTest(unittest.TestCase):
    def test_values(self):
        # Catches a wrong norm, lengths in bytes or UTF-16 units, and a mean in place of the best reference.
        for response, references, expected in [
            ("", [""], 1.0),
            ("", ["ab"], 0.0),
            ("return a + b", ["return b + a"], 1 - 2 / 12),
            ("kitten", ["sitting", "mitten"], 1 - 1 / 6),
            ("naïve 🙂", ["naive 🙂"], 1 - 1 / 7),
            ("\ufeffab", ["ab"], 1 - 1 / 3),
            ("ABC", ["abc"], 0.0),
        ]:
            with self.subTest(response=response, references=references):
                self.assertEqual(Metric().measure(sample(response, *references)), [expected, 1.0])

    def test_case(self):
        # Catches an option that is read and not obeyed.
        metric = Metric.from_options('{"case_sensitive": false}')
        self.assertEqual(metric.measure(sample("ABC", "abc")), [1.0, 1.0])
        self.assertNotEqual(metric.signature(), Metric().signature())

    def test_distance_is_the_textbooks(self):
        # Catches a lost carry in the bit-parallel distance, whatever the lengths.
        draw = random.Random(1)
        for _ in range(300):
            a, b = ("".join(draw.choices("ab🙂", k=draw.randrange(80))) for _ in range(2))
            self.assertEqual(edit_distance(a, b), table_distance(a, b), (a, b))

    def test_score_is_the_mean(self):
        # Catches a corpus score that isn't sum / count, and a division by zero.
        self.assertEqual(Metric().score([1.5, 2.0]), 0.75)
        self.check_error("no-samples", "a mean of no samples is not defined", lambda: Metric().score([0.0, 0.0]))

    def test_errors_name_the_culprit(self):
        # Catches a bad option that passes in silence, and messages that don't help.
        self.check_error(
            "missing-field",
            "sample `7`: expected at least one reference, found none",
            lambda: Metric().measure(sample("a")),
        )
        for options, message in [
            ('{"case": true}', "option `case`: unknown; expected `case_sensitive`"),
            ('{"case_sensitive": 1}', "option `case_sensitive`: expected true or false, found 1"),
            ("[]", "options: expected one JSON object, found []"),
        ]:
            self.check_error("bad-option", message, lambda: Metric.from_options(options))
        self.assertTrue(Metric.from_options("").case_sensitive)

    def check_error(self, code: str, message: str, call) -> None:
        with self.assertRaises(PluginError) as raised:
            call()
        self.assertEqual((raised.exception.code, raised.exception.message), (code, message))


if __name__ == "__main__":
    unittest.main()
