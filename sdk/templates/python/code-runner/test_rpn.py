import unittest

from options import PluginError, check_options
from rpn import DEPTH_MAX, OUTPUT_BYTES_MAX, Outcome, Program, check_language

SQUARE = ": square dup * ;\n"
# Each word prints twice as much as the one before.
FLOOD = ": w0 1" + "0" * 999 + " . ; " + " ".join(f": w{i} w{i - 1} w{i - 1} ;" for i in range(1, 30)) + " w29"


class RpnTest(unittest.TestCase):
    def test_output(self):
        # Catches operands in the wrong order, rounding towards zero, and lost digits.
        for source, stdin, expected in [
            ("", b"", ""),
            ("1 2 + .\n7 2 - .", b"", "3\n5\n"),
            ("-7 2 / . -7 2 mod . 7 -2 / .", b"", "-4\n1\n-4\n"),
            ("in in swap - .", b"3\n10 99", "7\n"),
            ("1 2 over . . . 5 dup . 6 drop .", b"", "1\n2\n1\n5\n5\n"),
            (SQUARE + ": fourth square square ; 10000000000 fourth .", b"", "1" + "0" * 40 + "\n"),
        ]:
            with self.subTest(source=source):
                finished = Outcome("finished", "", "", expected.encode())
                self.assertEqual(Program(source).run(stdin), finished)

    def test_exceptions(self):
        # Catches a failure without its name, its line or what was printed before it.
        for source, name, detail in [
            ("1 .\n2 +", "StackUnderflow", "line 2: `+`: expected 2 on the stack, found 1"),
            ("1 .\n1 0 /", "DivisionByZero", "line 2: `/`: expected a divisor, found 0"),
            ("1 .\nfoo", "UnknownWord", "line 2: `foo`: not defined"),
            ("1 .\nin in", "BadInput", "line 2: `in`: expected a number, found `x`"),
            ("1 .\nin drop drop", "StackUnderflow", "line 2: `drop`: expected 1 on the stack, found 0"),
            (": f f ; 1 .\nf", "RecursionTooDeep", f"line 1: `f`: more than {DEPTH_MAX} words deep"),
        ]:
            with self.subTest(source=source):
                self.assertEqual(Program(source).run(b"5 x"), Outcome("exception", name, detail, b"1\n"))
        self.assertEqual(Program("in").run(b"").exception, "EndOfInput")

    def test_flood(self):
        # Catches a short program that fills the memory with output.
        outcome = Program(FLOOD).run(b"")
        self.assertEqual((outcome.kind, len(outcome.stdout)), ("out-of-output", OUTPUT_BYTES_MAX))

    def test_call(self):
        # Catches a result that isn't the word's, and a program that isn't executed first.
        self.assertEqual(Program(SQUARE).call("square", [-12]), 144)
        self.assertEqual(Program(": diff - ;").call("diff", [10, 3]), 7)
        self.assertEqual(Program(SQUARE).call("cube", [1]).exception, "UnknownWord")
        self.assertEqual(Program(": gone drop ;").call("gone", [1]).exception, "StackUnderflow")
        self.assertEqual(Program(SQUARE + "1 0 /").call("square", [2]).exception, "DivisionByZero")

    def test_errors_name_the_culprit(self):
        # Catches programs that are refused without a reason, or not refused.
        for code, message, call in [
            ("syntax-error", "line 2: `;` without `:`", lambda: Program("1 .\n;")),
            ("syntax-error", "line 1: expected `;` at the end of `f`, found none", lambda: Program(": f 1")),
            ("syntax-error", "line 1: expected `;` at the end of `f`, found `:`", lambda: Program(": f : g ; ;")),
            ("syntax-error", "line 1: expected a new name behind `:`, found `+`", lambda: Program(": + ;")),
            ("unsupported-language", "language: expected `rpn`, found python", lambda: check_language("python")),
            ("bad-option", "option `x`: unknown; this plugin has no options", lambda: check_options('{"x": 1}')),
        ]:
            with self.assertRaises(PluginError) as raised:
                call()
            self.assertEqual((raised.exception.code, raised.exception.message), (code, message))


if __name__ == "__main__":
    unittest.main()
