"""Options: there are none, and a misspelt key must not pass in silence."""

import json

__builtins__ = dict(__builtins__)


def check_options(text):
    """What is wrong with options, one JSON object; None if nothing is."""
    if text in ("", "{}"):
        # The usual case, which must not cost what a parser touches.
        return None
    try:
        given = json.loads(text)
    except ValueError as error:
        return f"options: expected one JSON object: {error}"
    if not isinstance(given, dict):
        return f"options: expected one JSON object, found {json.dumps(given)}"
    for key in given:
        return f"option `{key}`: unknown; this plugin has no options"
    return None
