"""Options of the plugin, and the failure that it reports."""

import json


class PluginError(Exception):
    """A failure the host reports: `code` is stable and for programs, `message` for people."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def check_options(text: str) -> None:
    """This runner has no options, and a misspelt key must not pass in silence."""
    try:
        given = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise PluginError("bad-option", f"options: expected one JSON object: {error}") from None
    if not isinstance(given, dict):
        raise PluginError("bad-option", f"options: expected one JSON object, found {json.dumps(given)}")
    for key in given:
        raise PluginError("bad-option", f"option `{key}`: unknown; this plugin has no options")
