import unittest

from reward import PARTS, Abstention, PluginError, Reward, check_options, shape


class RewardTest(unittest.TestCase):
    def test_values(self):
        # Catches a wrong sign, a missing clip, and a division by zero.
        for tokens, tokens_max, expected in [
            (0, 8, 1.0),
            (2, 8, 0.75),
            (8, 8, 0.0),
            (9, 8, 0.0),
            (1, 3, 1.0 - 1 / 3),
            (1, 0, 0.0),
        ]:
            with self.subTest(tokens=tokens, tokens_max=tokens_max):
                self.assertEqual(shape("x", tokens, tokens_max), Reward(expected, {"brevity": expected}))

    def test_parts_are_the_described_ones(self):
        # Catches a part that is logged under a name `describe` doesn't have.
        self.assertEqual(list(shape("x", 1, 2).parts), PARTS)

    def test_empty_response(self):
        # Catches the best reward for saying nothing.
        for response in ("", " \n"):
            self.assertEqual(shape(response, 1, 8), Abstention("the response is empty"))

    def test_options(self):
        # Catches an option that passes in silence.
        check_options("")
        check_options("{}")
        for options, message in [
            ('{"scale": 2}', "option `scale`: unknown; this plugin has no options"),
            ("3", "options: expected one JSON object, found 3"),
        ]:
            with self.assertRaises(PluginError) as raised:
                check_options(options)
            self.assertEqual((raised.exception.code, raised.exception.message), ("bad-option", message))


if __name__ == "__main__":
    unittest.main()
