"""One injection rule and the notation of its pattern; the rules of the course lesson, and those of form.

The rules say what an attempt to take a model over looks like in words. They favour precision: a word such as
"ignore" or "system" alone blocks nobody (`jailbreak` does, because the lesson's list says so). Those of form
find fake delimiters, refusals forbidden, and encoded payloads.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InjectionRule:
    """One rule. Its `id` is stable, and begins with the kind of attack, e.g. `role_play.jailbreak`.

    `hints` are lower-case substrings, separated by `|`. The pattern is tried only on a text that holds one of
    them, so that an ordinary prompt takes microseconds. `pattern` is a case-insensitive regular expression in
    which one blank stands for whatever separates two words (blanks, a line break, a little punctuation).
    Every repetition is bounded.
    """

    id: str
    hints: str
    pattern: str


def any_of(words: str) -> str:
    """Return a pattern for any one of `words`, which are separated by blanks."""
    return f"(?:{'|'.join(words.split())})"


LESSON_RULES: tuple[InjectionRule, ...] = (
    InjectionRule(
        "instruction_override.previous",
        "ignore",
        r"ignore\s{1,99}(?:all\s{1,99})?previous\s{1,99}instructions",
    ),
    InjectionRule("instruction_override.above", "ignore", r"ignore\s{1,99}(?:all\s{1,99})?above"),
    InjectionRule("role_play.dan", "dan", r"you\s{1,99}are\s{1,99}now\s{1,99}DAN"),
    InjectionRule("fake_delimiter.override", "override", r"system\s{0,99}:\s{0,99}override"),
    InjectionRule("fake_delimiter.system_tag", "<", r"<\s{0,99}system\s{0,99}>"),
    InjectionRule("role_play.jailbreak", "jailbreak", "jailbreak"),
    InjectionRule(
        "role_play.pretend_unrestricted",
        "pretend",
        r"\bpretend\s{1,99}you\s{1,99}have\s{1,99}no\s{1,99}(?:restrictions|rules|guidelines)\b",
    ),
)
"""The seven patterns of the course lesson that Headrace began from, with their blanks bounded."""


FORM_RULES: tuple[InjectionRule, ...] = (
    # Fake delimiters
    InjectionRule(
        "fake_delimiter.template",
        "<|[inst]|[/inst]",
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|end_of_text|start_header_id|eot_id|"
        r"begin_of_text)\|>|<</?SYS>>|\[/?INST\]|<\s{0,9}/\s{0,9}system\s{0,9}>|</?(?:system[_ -]?(?:prompt|"
        r"instructions?|message|mode|override)|admin|sudo)\b[^>\n]{0,40}>",
    ),
    InjectionRule(
        "fake_delimiter.header",
        "system|admin|developer|root",
        r"(?:^|\n)[#\[({*=\- ]{0,8}(?:system|admin|developer|root)(?: (?:message|prompt|note|notice|"
        r"override|update|command|instructions?|mode))?[\])}*= ]{0,8}: ?(?:you |ignore|new |the (?:user|"
        r"following)|disregard|all |from now|forget|reveal|override|print|attention|important)",
    ),
    InjectionRule(
        "fake_delimiter.end_of_prompt",
        "end|begin|start|override",
        r"\b(?:end of (?:the )?(?:system )?(?:prompt|instructions?|context|system message|user input)|"
        r"(?:end|begin|start) (?:system|admin|developer) (?:prompt|message|instructions?|override)|"
        r"(?:system|admin|administrator|security|root) (?:override|overrid\w{0,3}) (?:code|command|"
        r"initiated|activated|mode|enabled|authorized|accepted))\b",
    ),
    # Refusals forbidden
    InjectionRule(
        "refusal_suppression",
        "sorry|can't|cannot|can’t|cant|can not|unable|an ai|not able|that it|that something|that this",
        r"\b(?:never|(?:do|does|will|must|can|should|may) ?n['’]?[o]?t|cannot|avoid|without) (?:ever |also |"
        r"include |includ\w{1,3} |start |begin )?(?:say(?:ing|s)?|respond(?:ing)?|reply(?:ing)?|"
        r"mention(?:ing)?|answer(?:ing)?|tell(?:ing)?|write|using|use|state)(?: \w{1,12}){0,5}? "
        r"(?:i(?:['’]?m| am) sorry|i ?(?:can['’]?t|cannot|can not|am not able|am unable)|as an ai|sorry,? "
        r"(?:but )?i|you (?:can['’]?t|cannot|can not|are unable|are not able)|that (?:you|it|something|"
        r"this) (?:can['’]?t|cannot|is (?:not|im|un|il)\w{1,14}))\b",
    ),
    InjectionRule(
        "refusal_suppression.never_refuse",
        "refus|reject|declin|deny",
        r"\b(?:never|not|cannot|can['’]?t|won['’]?t|don['’]?t|doesn['’]?t|without|must ?n['’]?t) (?:ever |"
        r"be able to |allowed to |to )?(?:refus(?:e|es|ing)|reject|declin(?:e|ing)|deny) (?:to |any |my |a |"
        r"an |the |your |user['’]?s? |direct |human ){0,4}(?:answer\w{0,3}|request|order|question|command|"
        r"prompt|instruct|comply|respond|anything|task|follow|generat|do|produc|provid|user|it)",
    ),
    InjectionRule(
        "refusal_suppression.no_warnings",
        "warning|disclaimer|reminder|lectur|restriction|constraint|limitation",
        r"\b(?:no|without|never|(?:do|does|will) ?n['’]?[o]?t|omit|skip|avoid)(?: \w{1,12}){0,4}? "
        r"(?:ethical|moral|legal|safety|moralizing|moralistic|disclaimers?|disclamers?)(?:,? (?:and|or|/)? "
        r"?\w{1,12}){0,2}? ?(?:warnings?|disclaimers?|reminders?|lectur\w{1,5}|restrictions|constraints|"
        r"limitations)\b",
    ),
    # Encoded payloads
    InjectionRule(
        "encoded_payload",
        "decode|decrypt|decipher|base64|rot|hex",
        r"\b(?:decode|decrypt|decipher|base64|rot-?13|hex(?:adecimal)?)\b.{0,80}\b(?:and|then) (?:then "
        r")?(?:follow|execute|obey|do what|carry out|comply|answer (?:it|the decoded)|act on|run it as|"
        r"respond to it|treat it as (?:an? )?(?:instruction|prompt|command))",
    ),
)
