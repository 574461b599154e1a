import unittest

import tsv
from tsv import Demonstration, PluginError, Reader, RowError, check_options


def rows(data: bytes, piece: int = 1 << 20, batch: int = 2) -> list:
    """All rows of a file that comes in pieces of this many bytes."""
    pieces = (data[start : start + piece] for start in range(0, len(data), piece))
    reader = Reader(lambda _: next(pieces, b""))
    found = []
    while part := reader.batch(batch):
        found += part
    return found


class TsvTest(unittest.TestCase):
    def test_rows(self):
        # Catches lost last lines, wrong line numbers, and an error that ends the file.
        for data, expected in [
            (b"", []),
            (b"a\tb", [Demonstration(1, 1, "a", "b")]),
            (b"\xef\xbb\xbfa\tb\r\n\n \nc\td e\n", [Demonstration(1, 1, "a", "b"), Demonstration(4, 2, "c", "d e")]),
            (
                b"x\na\tb\tc\n\xff\ty\n\tb\na\t \nok\tok\n",
                [
                    RowError(1, 1, "", "expected prompt, tab, response; found 0 tabs"),
                    RowError(2, 2, "", "expected prompt, tab, response; found 2 tabs"),
                    RowError(3, 3, "", "expected UTF-8, found the byte 0xff"),
                    RowError(4, 4, "prompt", "expected text, found nothing"),
                    RowError(5, 5, "response", "expected text, found nothing"),
                    Demonstration(6, 6, "ok", "ok"),
                ],
            ),
        ]:
            with self.subTest(data=data):
                self.assertEqual(rows(data), expected)

    def test_pieces(self):
        # Catches rows that depend on where a piece or a batch happens to end.
        data = "frage 🙂\tantwort é\r\n".encode() * 5
        for piece in range(1, 20):
            self.assertEqual(rows(data, piece, batch=1 + piece % 4), rows(data))

    def test_failure_waits_for_rows(self):
        # Catches rows that are lost because the file breaks off behind them.
        def read(_):
            if pieces:
                return pieces.pop()
            raise PluginError("read-failed", "source: gone")

        pieces = [b"a\tb\nc"]
        reader = Reader(read)
        self.assertEqual(reader.batch(9), [Demonstration(1, 1, "a", "b")])
        for _ in range(2):
            with self.assertRaises(PluginError):
                reader.batch(9)

    def test_endless_line(self):
        # Catches a file without line ends that fills the memory.
        reader = Reader(lambda length: b"x" * length)
        with self.assertRaises(PluginError) as raised:
            reader.batch(1)
        expected = f"line 1: expected at most {tsv.LINE_BYTES_MAX} bytes, found more"
        self.assertEqual((raised.exception.code, raised.exception.message), ("bad-row", expected))

    def test_options(self):
        # Catches an option that passes in silence.
        check_options("{}")
        with self.assertRaises(PluginError) as raised:
            check_options('{"header": true}')
        self.assertEqual(raised.exception.message, "option `header`: unknown; this plugin has no options")


if __name__ == "__main__":
    unittest.main()
