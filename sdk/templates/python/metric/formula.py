"""The metric: plain Python, without generated types, so that tests run without WebAssembly.

    value = max over references of 1 - d(response, reference) / max(|response|, |reference|)

d is the Levenshtein distance, lengths count Unicode code points, and two empty texts are equal.
"""

import json

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "1 - edit distance / length of the longer text, to the nearest reference"


class PluginError(Exception):
    """A failure the host reports: `code` is stable and for programs, `message` for people."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


class Metric:
    """The configured metric."""

    def __init__(self, case_sensitive: bool = True):
        self.case_sensitive = case_sensitive

    @classmethod
    def from_options(cls, text: str) -> "Metric":
        """The metric that the options ask for: one JSON object, or nothing."""
        try:
            given = json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise PluginError("bad-option", f"options: expected one JSON object: {error}") from None
        if not isinstance(given, dict):
            raise PluginError("bad-option", f"options: expected one JSON object, found {json.dumps(given)}")
        # A misspelt key must not pass in silence: the numbers would be others than asked for.
        for key, value in given.items():
            if key != "case_sensitive":
                raise PluginError("bad-option", f"option `{key}`: unknown; expected `case_sensitive`")
            if not isinstance(value, bool):
                raise PluginError("bad-option", f"option `{key}`: expected true or false, found {json.dumps(value)}")
        return cls(**given)

    def signature(self) -> str:
        """Options that change the numbers, in the manner of sacrebleu."""
        return "case:mixed" if self.case_sensitive else "case:lc"

    def measure(self, sample) -> list[float]:
        """Statistics of one sample, which add over samples: the sum of the values and their count."""
        if not sample.references:
            raise PluginError(
                "missing-field", f"sample `{sample.id}`: expected at least one reference, found none"
            )
        return [max(self.similarity(sample.response, reference) for reference in sample.references), 1.0]

    def score(self, statistics: list[float]) -> float:
        """The value that follows from one sample's statistics, or from their sum."""
        if len(statistics) != 2:
            raise PluginError("bad-result", f"statistics: expected 2 numbers, found {len(statistics)}")
        total, count = statistics
        if count == 0.0:
            raise PluginError("no-samples", "a mean of no samples is not defined")
        return total / count

    def similarity(self, response: str, reference: str) -> float:
        """From 0, nothing in common, to 1, equal."""
        if not self.case_sensitive:
            response, reference = response.lower(), reference.lower()
        longer = max(len(response), len(reference))
        # Equal texts, empty ones too, are worth no table.
        if response == reference:
            return 1.0
        return 1.0 - edit_distance(response, reference) / longer


def edit_distance(pattern: str, text: str) -> int:
    """Levenshtein distance in code points.

    Bit-parallel (Myers 1999, https://doi.org/10.1145/316542.316550, as Hyyrö 2003 has it): a column
    of the table is two integers, whose bits say where it rises and where it falls. A cell at a time
    would be a hundred times slower, and two texts of 3,000 characters would run out of fuel.
    """
    if not pattern:
        return len(text)
    places: dict[str, int] = {}
    for index, character in enumerate(pattern):
        places[character] = places.get(character, 0) | 1 << index
    all_bits = (1 << len(pattern)) - 1
    last_bit = 1 << len(pattern) - 1
    rises, falls, distance = all_bits, 0, len(pattern)
    for character in text:
        equal = places.get(character, 0)
        vertical = equal | falls
        horizontal = ((equal & rises) + rises ^ rises) | equal
        up = falls | all_bits & ~(horizontal | rises)
        down = rises & horizontal
        if up & last_bit:
            distance += 1
        elif down & last_bit:
            distance -= 1
        up = up << 1 | 1
        rises = all_bits & (down << 1 | ~(vertical | up))
        falls = all_bits & up & vertical
    return distance
