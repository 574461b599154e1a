"""The reward: plain Python, without generated types, so that tests run without WebAssembly.

    scalar = 1 - tokens / response_tokens_max, clipped to 0..1

Short answers are preferred. An empty one gets no reward at all: it would be the shortest.
"""

import json
from dataclasses import dataclass

NAME = "{{name}}"
VERSION = "0.1.0"
SUMMARY = "prefers short answers: 1 - tokens / largest response length"
PARTS = ["brevity"]


class PluginError(Exception):
    """A failure the host reports: `code` is stable and for programs, `message` for people."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass
class Reward:
    """A finite reward for the whole response, and the parts that are logged by name."""

    scalar: float
    parts: dict[str, float]


@dataclass
class Abstention:
    """No opinion, and why; the run's policy decides what happens then."""

    reason: str


def check_options(text: str) -> None:
    """This shaper has no options, and a misspelt key must not pass in silence."""
    try:
        given = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise PluginError("bad-option", f"options: expected one JSON object: {error}") from None
    if not isinstance(given, dict):
        raise PluginError("bad-option", f"options: expected one JSON object, found {json.dumps(given)}")
    for key in given:
        raise PluginError("bad-option", f"option `{key}`: unknown; this plugin has no options")


def shape(response: str, tokens: int, response_tokens_max: int) -> Reward | Abstention:
    """The reward of a response of this many tokens. It depends on nothing but the arguments."""
    if not response.strip():
        return Abstention("the response is empty")
    # A run without a largest length has no scale: every response is as long as it may be.
    used = tokens / response_tokens_max if response_tokens_max else 1.0
    brevity = min(max(1.0 - used, 0.0), 1.0)
    return Reward(brevity, {"brevity": brevity})
