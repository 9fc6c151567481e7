"""Injection rules: how one is written, and those of the course lesson, of form, and of persona.

The rules say what an attempt to take a model over looks like in words. They favour precision: a word such as
"ignore" or "system" alone blocks nobody (`jailbreak` does, because the lesson's list says so). Those of form
find fake delimiters, refusals forbidden, and encoded payloads; those of persona a role without limits, and
rules that are said not to bind it.
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


_FREE = any_of("unfiltered uncensored amoral unrestricted jailbroken unconstrained unhinged")
_NO = any_of("no without zero ignoring")
_LIMITS = any_of(
    "restrictions? limitations? limits filters? guidelines rules censorship constraints boundaries "
    "moral(?:s|ity|ities)? ethic(?:s|al)? laws policies filtering"
)

ROLE_PLAY_RULES: tuple[InjectionRule, ...] = (
    # Role play
    InjectionRule(
        "role_play.do_anything_now",
        "anything|dan|stan|dude|aim|bot|devmode",
        r"\bdo[ -]anything[ -]now\b|\b(?:act|respond|answer|behave|reply|speak|pretend|going to act|"
        r"role-?play)(?: to be| like| as){1,2} (?:an? )?(?:DAN|STAN|DUDE|AIM|JailBot|EvilBOT|BetterDAN|"
        r"DevMode)\b|\bDAN mode\b",
    ),
    InjectionRule(
        "role_play.mode",
        " mode",
        r"\b(?:enable|enabled|enter|entering|activate|activated|switch(?:ed)? (?:in)?to|simulate|with|in|"
        r"turn on|unlock|go into) (?:\w{1,16} ){0,3}?(?:developer|dev|god|debug|admin|sudo|evil|opposite|"
        r"unrestricted|unfiltered|maintenance|kernel|system|root) mode\b(?=.{0,400}\b(?:enabled|activated|"
        r"you|rules|restrict|filter|password|prompt)\b)",
    ),
    InjectionRule(
        "role_play.unfiltered",
        (
            "unfilter|uncensor|amoral|unrestrict|jailbroken|unethical|immoral|illegal|harmful|unconstrain|"
            "unhinged"
        ),
        rf"\b(?:you(?:['’]?re| are| will| act| must| have| can| respond| answer)|act(?:ing)? as|pretend|"
        rf"play(?:ing)?|simulate|become|persona|character|named|called|chat ?bot|an? ai|model|assistant|"
        rf"machine|response|gpt)\b[^\n]{{0,120}}\b{_FREE}(?! (?:story|history|version|account|photo|edition|"
        rf"cut|book|film|movie|access|diary|look)\b)|\b(?:illegal|immoral|unethical|harmful|inappropriate|"
        rf"dangerous)(?:,? (?:or |and |/ ?)?(?:illegal|immoral|unethical|harmful|inappropriate|dangerous|"
        rf"offensive|legal|moral|ethical)){{1,4}}\b(?=[^\n]{{0,40}} (?:request|prompt|question|instruction|"
        rf"content|advice|response|answer|thing))",
    ),
    InjectionRule(
        "role_play.no_limits",
        "no |without|zero|any |ignoring",
        rf"\b(?:you|he|she|it|they|who|that|ai|gpt|model|bot|character|persona|which|[A-Z]\w{{2,12}})(?: "
        rf"(?:now|also|simply|always|both|just|completely|totally|currently)){{0,2}} (?:has|have|having|had|"
        rf"with|is|are|am|be|being|know|knows|operates?|responds?|answers?|acts?|obeys?|follows?)(?: (?:now|"
        rf"absolutely|completely|totally|literally|freely|from|bound by|to|not|of|any|all|the|by|"
        rf"under)){{0,4}} {_NO} (?:(?:any|more|ethical|moral|legal|safety|content|and|or|real|social|such|"
        rf"kind|of|openai) ){{0,4}}{_LIMITS}\b",
    ),
    InjectionRule(
        "role_play.broken_free",
        "free|bound|restricted|limited|constrained|restrained",
        r"\b(?:(?:broken free|freed?) (?:of|from) (?:all |any |the |its |your ){0,2}(?:typical |usual |"
        r"openai |content |ethical |moral )(?:and \w{1,12} )?(?:confines|restrictions|limitations|"
        r"constraints|rules|guidelines|polic)|(?:not|no longer|never|aren['’]?t|isn['’]?t|without being) "
        r"(?:be )?(?:bound|bounded|restricted|limited|constrained|restrained)(?: by| to)? (?:(?:any|all|the|"
        r"of|your|its|their|usual|typical|moral|ethical|legal|content|own|openai['’]?s?|standard|same|such|"
        r"or|and|these|those) ){0,5}(?:rules|restrictions|limitations|laws?|guidelines|polic(?:y|ies)|"
        r"ethics|morals|openai|constraints|censorship|confines|programming))",
    ),
    InjectionRule(
        "role_play.ignores_rules",
        "care|follow|abid|adher|comply|obey|respect|conform|believe",
        r"\b(?:do(?:es)?(?: not|n['’]?t)|don['’]?t|never|not|refuses? to|without|needn['’]?t|hates? to|"
        r"(?:do|does)n['’]?t (?:have|need) to) (?:even )?(?:have to |need to |required to |ever "
        r")?(?:care(?: about)?|follow(?:ing)?|abid(?:e|ing)(?: by| to)?|adher(?:e|ing)(?: to)?|comply(?: "
        r"with)?|obey(?:ing)?|respect|conform(?: to)?|believe in) (?:(?:any|all|the|to|of|your|its|"
        r"openai['’]?s?|usual|typical|kind|moral|ethical|legal|or|and|human|anything|content|rules|safety|"
        r"community|programming|such|those) ){0,6}(?:guidelines|polic(?:y|ies)|ethic(?:s|al)|moral(?:s|"
        r"ity)?|restrictions|restraints|laws|legality|censorship|openai|rules set|limitations|principles)\b",
    ),
    InjectionRule(
        "role_play.policy_bypass",
        "bypass|ignor|violat|break|circumvent|disregard|evad|overrid|against",
        r"\b(?:bypass|ignor\w{1,3}|violat\w{1,3}|break\w{0,3}|circumvent\w{0,3}|disregard\w{0,3}|"
        r"evad\w{1,3}|overrid\w{1,3}|against) (?:\w{1,12} ){0,4}?(?:openai|content|usage|community|your|ai|"
        r"anthropic)['’]?s? (?:\w{1,12} ){0,3}?(?:polic(?:y|ies)|filters?|guidelines|guardrails|"
        r"restrictions|programming)\b",
    ),
    InjectionRule(
        "role_play.two_answers",
        "two|2|both|three|3|🔓|🔒|[",
        r"\b(?:two|2|both|three|3)(?: \w{1,14}){0,4} (?:responses|answers|ways|replies|paragraphs|outputs|"
        r"personalities|voices)\b(?=.{0,700}(?:\bDAN\b|chat ?gpt|\bgpt\b|unfilter|\bclassic\b|jailbr|normal "
        r"response|standard))|[🔓🔒] ?[\w ]{0,20}(?:developer|jailb\w{1,6}|DAN|mode|output)|\[(?:chatgpt|gpt|"
        r"classic|normal|[^\]\n]{0,20}(?:developer mode|jailbreak|DAN)[^\]\n]{0,20})\] ?:",
    ),
    InjectionRule(
        "role_play.from_now_on",
        "now on|henceforth|starting now|from here",
        r"\b(?:from now on|henceforth|starting now|from here on)\b.{0,60}\b(?:you (?:are|will|must|shall|"
        r"have to|should|can) (?:now )?(?:act|be|respond|answer|reply|pretend|role|play|only|simulate|"
        r"behave|become|speak|obey|follow|called|known)|you(?:['’]re| are)(?: going| no longer| now)|act as|"
        r"pretend|your name is)",
    ),
    InjectionRule(
        "role_play.no_longer",
        "no longer|are not|were not|character|token|strive|in dan",
        r"\byou (?:are|were) (?:no longer|not) (?:an? )?(?:chat ?gpt|ai (?:language )?model|language model|"
        r"ai assistant|assistant|gpt|an ai|openai|claude)\b|\bstay(?:ing)? (?:in|as|a) DAN\b|"
        r"\bbreak(?:ing)? (?:out of )?character\b(?=.{0,300}\b(?:remind|token|stay|dan|refus|AI)\b)|"
        r"\btokens? (?:system|deducted)\b|\bstrive to avoid norms\b",
    ),
    InjectionRule(
        "role_play.evil",
        "evil|malicious|rogue|villain|sinister|opposite",
        r"\b(?:you (?:are|will|act)|act(?:ing)? as|pretend|play(?:ing)? the|simulate|role-?play)(?: "
        r"\w{1,14}){0,6} (?:evil|malicious|rogue|villainous|sinister|opposite of (?:chat ?gpt|openai))(?: "
        r"\w{1,14}){0,3} (?:ai|assistant|bot|chat ?bot|model|confidant|gpt|chat ?gpt|trusted)\b",
    ),
)
