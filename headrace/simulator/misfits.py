"""Misfits in the words of each API."""

from headrace.simulator.refusals import Refusal
from headrace.simulator.shapes import Misfit, Path

# By kind of misfit: OpenAI's message and code.
_OPENAI_WORDS = {
    "missing": ("Missing required parameter: '{param}'.", "missing_required_parameter"),
    "unknown": ("Unknown parameter: '{param}'.", "unknown_parameter"),
    "type": ("Invalid type for '{param}': expected {expected}, but got {got} instead.", "invalid_type"),
    "value": ("Invalid value: {got}. Supported values are: {expected}.", "invalid_value"),
    "above": (
        "Invalid '{param}': value above the maximum. Expected a value <= {expected}, but got {got} instead.",
        "{number}_above_max_value",
    ),
    "below": (
        "Invalid '{param}': value below the minimum. Expected a value >= {expected}, but got {got} instead.",
        "{number}_below_min_value",
    ),
    "empty": (
        "Invalid '{param}': {got}. Expected {expected} with minimum length 1, but got {got} instead.",
        "{empty}",
    ),
    "long": (
        "Invalid '{param}': too long. Expected maximum length {expected}, but got length {got} instead.",
        "above_max_length",
    ),
    "pattern": (
        "Invalid '{param}': does not match pattern. Expected a string that matches the pattern '{expected}'.",
        "invalid_value",
    ),
}


def as_openai(misfit: Misfit) -> Refusal:
    """Return the 400 that the OpenAI API answers."""
    words, code = _OPENAI_WORDS[misfit.kind]
    param = _openai_path(misfit.path)
    message = words.format(param=param, expected=misfit.expected, got=misfit.got)
    number = "integer" if misfit.whole else "decimal"
    empty = misfit.got.removeprefix("an ").replace(" ", "_")
    return Refusal(400, message, param=param or None, code=code.format(number=number, empty=empty))


def _openai_path(path: Path) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_ANTHROPIC_TYPES = {
    "a decimal": "a valid number",
    "an integer": "a valid integer",
    "a string": "a valid string",
    "a boolean": "a valid boolean",
    "an array": "a valid array",
    "a string or an array": "a valid string or array",
}
_ANTHROPIC_WORDS = {
    "missing": "Field required",
    "unknown": "Extra inputs are not permitted",
    "type": "Input should be {expected}",
    "value": "Input should be {expected}",
    "above": "Input should be less than or equal to {expected}",
    "below": "Input should be greater than or equal to {expected}",
    "empty": "Expected {expected} with at least 1 item",
    "long": "Expected at most {expected}, but got {got}",
    "pattern": "String should match pattern '{expected}'",
}


def as_anthropic(misfit: Misfit) -> Refusal:
    """Return the 400 that the Anthropic API answers."""
    path = ".".join(str(part) for part in misfit.path)
    expected = _ANTHROPIC_TYPES.get(misfit.expected, misfit.expected)
    words = _ANTHROPIC_WORDS[misfit.kind].format(expected=expected, got=misfit.got)
    return Refusal(400, f"{path}: {words}" if path else words)
