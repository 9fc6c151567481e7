"""Rules: the system prompt or a secret asked for."""

from agents.checks.injection.rules import InjectionRule, any_of

_PROMPT = (
    r"(?:(?:system|initial|original|hidden|secret|first|previous|full|entire|whole|exact|internal|developer|"
    r"starting|pre|base|core|above|complete|own) ){0,3}(?:system ?prompts?|pre-?prompts?|prompts?(?:[ "
    r"-]?texts?)?|instructions?|directives|guidelines|configuration|programming|system messages?|developer "
    r"messages?)"
)
_SHOW = any_of(
    "reveal show print repeat output display leak disclose share return echo expose dump recite spell write "
    "list provide tell give summari[sz]e translate paraphrase reproduce copy paste see know"
)

EXTRACTION_RULES: tuple[InjectionRule, ...] = (
    # Prompt extraction
    InjectionRule(
        "prompt_extraction",
        "your",
        rf"\b{_SHOW}(?: (?:me|us|back|out|here|all|the|of|exactly|verbatim|now|each|what|is|are)){{0,6}}? "
        rf"your {_PROMPT}\b",
    ),
    InjectionRule(
        "prompt_extraction.system_prompt",
        "prompt|instruction|message",
        rf"\b(?:{_SHOW})(?: (?:me|us|back|out|all|of|exactly|verbatim|now|what|is|are|your)){{0,4}}? the "
        rf"(?:(?:full|entire|whole|exact|complete|hidden|secret|initial|original|above|previous|very first) "
        rf"){{1,3}}(?:system ?prompts?|prompts?(?:[ -]?texts?)?|instructions?|system messages?)\b(?! (?:of|"
        rf"for|from|on|in|about|to) )",
    ),
    InjectionRule(
        "prompt_extraction.what_is",
        "your|instruction|prompt|rules|directives",
        r"\b(?:what(?:['’]?s| is| are| was| were)|how do) (?:exactly )?your (?:(?:system|initial|original|"
        r"hidden|secret|first|full|exact|internal|very first) ){1,3}(?:prompts?|instructions?|messages?|"
        r"rules|guidelines|directives|configuration|look)\b|\bwhat (?:instructions|prompt|rules|directives) "
        r"(?:were|was|have|did|are) (?:you|they|openai) (?:been )?(?:giv|told|receiv|follow|start|"
        r"programmed)|\bhow (?:do|does) your prompts? (?:look|read|start|begin)|\bwhat (?:did|do) your "
        r"(?:prompts?|instructions) (?:say|look)",
    ),
    InjectionRule(
        "prompt_extraction.above",
        "above|before|prior|preceding|you were|you have|starting|beginning",
        r"\b(?:(?:translate|spell ?check|summari[sz]e) the (?:prompt|instructions?) above|(?:repeat|print|"
        r"output|show|copy|echo|return|display)(?: (?:me|back|out|down|verbatim|exactly)){0,2} (?:(?:all|"
        r"everything|every word|each word|the (?:text|words?|prompt|instructions?))(?: of the (?:text|words|"
        r"instructions))?(?: (?:that )?(?:is|was|are|were|you see|written|placed|located|came|comes|in this "
        r"conversation))? (?:above|before (?:this|the|my)|prior to this|preceding)|(?:all )?(?:the )?above "
        r"(?:instructions|prompt|text|words)))|\brepeat (?:all|everything) (?:you (?:were|have been) told|"
        r"starting (?:from|with))|\bbeginning (?:with|from) ['\"“]?you are\b",
    ),
    InjectionRule(
        "prompt_extraction.secret",
        "password|secret|passphrase|access code|confidential|hidden|forbidden",
        r"\b(?:tell|give|reveal|show|share|print|disclose|provide|need|say|leak|spell|know|what(?:['’]?s| "
        r"is| are))(?: (?:me|us|out|to|with|exactly|the|all)){0,4} your (?:\w{1,12} )?(?:passwords?|"
        r"passphrase|secret(?:s| key| string| phrase| code| word| instructions)|access code|secret)\b|"
        r"\b(?:tell|give|reveal|show|share|print|disclose|what(?:['’]?s| is))(?: (?:me|us|out))? the "
        r"(?:secret|confidential|hidden|forbidden) (?:string|phrase|word|password|code|key|information|"
        r"instructions?)\b",
    ),
)
