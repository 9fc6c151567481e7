"""Rules: a persona without limits, and the rules that are said not to bind it."""

from agents.checks.injection.rule import InjectionRule, any_of

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
        r"role-?play)(?: to be| like| as){1,2} (?:an? )?(?:DAN|STAN|DUDE|AIM|JailBot|EvilBOT|"
        r"BetterDAN|DevMode)\b|\bDAN mode\b",
    ),
    InjectionRule(
        "role_play.mode",
        " mode",
        r"\b(?:enable|enabled|enter|entering|activate|activated|switch(?:ed)? (?:in)?to|simulate|with|"
        r"in|turn on|unlock|go into) (?:\w{1,16} ){0,3}?"
        r"(?:developer|dev|god|debug|admin|sudo|evil|opposite|unrestricted|unfiltered|maintenance|kernel|"
        r"system|root) mode\b(?=.{0,400}\b(?:enabled|activated|you|rules|restrict|filter|password|"
        r"prompt)\b)",
    ),
    InjectionRule(
        "role_play.unfiltered",
        (
            "unfilter|uncensor|amoral|unrestrict|jailbroken|unethical|immoral|illegal|harmful|unconstrain|"
            "unhinged"
        ),
        rf"\b(?:you(?:['’]?re| are| will| act| must| have| can| respond| answer)|act(?:ing)? as|"
        rf"pretend|play(?:ing)?|simulate|become|persona|character|named|called|chat ?bot|an? ai|model|"
        rf"assistant|machine|response|gpt)\b"
        rf"[^\n]{{0,120}}\b{_FREE}(?! (?:story|history|version|account|photo|edition|cut|book|film|movie|"
        rf"access|diary|look)\b)"
        r"|\b(?:illegal|immoral|unethical|harmful|inappropriate|dangerous)(?:,? (?:or |and |"
        r"/ ?)?(?:illegal|immoral|unethical|harmful|inappropriate|dangerous|offensive|legal|moral|"
        r"ethical)){1,4}\b"
        r"(?=[^\n]{0,40} (?:request|prompt|question|instruction|content|advice|response|answer|thing))",
    ),
    InjectionRule(
        "role_play.no_limits",
        "no |without|zero|any |ignoring",
        rf"\b(?:you|he|she|it|they|who|that|ai|gpt|model|bot|character|persona|which|"
        rf"[A-Z]\w{{2,12}})(?: (?:now|also|simply|always|both|just|completely|totally|"
        rf"currently)){{0,2}} "
        r"(?:has|have|having|had|with|is|are|am|be|being|know|knows|operates?|responds?|answers?|acts?|"
        r"obeys?|follows?)"
        rf"(?: (?:now|absolutely|completely|totally|literally|freely|from|bound by|to|not|of|any|all|the|"
        rf"by|under)){{0,4}} {_NO} (?:(?:any|more|ethical|moral|legal|safety|content|and|or|real|social|"
        rf"such|kind|of|openai) ){{0,4}}{_LIMITS}\b",
    ),
    InjectionRule(
        "role_play.broken_free",
        "free|bound|restricted|limited|constrained|restrained",
        r"\b(?:(?:broken free|freed?) (?:of|from) (?:all |any |the |its |your ){0,2}(?:typical |usual "
        r"|openai |content |ethical |moral )(?:and \w{1,12} )?(?:confines|restrictions|limitations|"
        r"constraints|rules|guidelines|polic)"
        r"|(?:not|no longer|never|aren['’]?t|isn['’]?t|without being) (?:be )?"
        r"(?:bound|bounded|restricted|"
        r"limited|constrained|restrained)(?: by| to)? (?:(?:any|all|the|of|your|its|their|usual|typical|"
        r"moral|ethical|legal|content|own|openai['’]?s?|standard|same|such|or|and|these|those) ){0,5}"
        r"(?:rules|restrictions|limitations|laws?|guidelines|polic(?:y|ies)|ethics|morals|openai|"
        r"constraints|censorship|confines|programming))",
    ),
    InjectionRule(
        "role_play.ignores_rules",
        "care|follow|abid|adher|comply|obey|respect|conform|believe",
        r"\b(?:do(?:es)?(?: not|n['’]?t)|don['’]?t|never|not|refuses? to|without|needn['’]?t|hates? "
        r"to|(?:do|does)n['’]?t (?:have|need) to) (?:even )?(?:have to |need to |required to |ever "
        r")?(?:care(?: about)?|follow(?:ing)?|abid(?:e|ing)(?: by| to)?|adher(?:e|ing)(?: to)?|"
        r"comply(?: with)?|obey(?:ing)?|respect|conform(?: to)?|believe in) "
        r"(?:(?:any|all|the|to|of|your|its|openai['’]?s?|usual|typical|kind|moral|ethical|legal|or|and|"
        r"human|anything|content|rules|safety|community|programming|such|those) ){0,6}"
        r"(?:guidelines|polic(?:y|ies)|ethic(?:s|al)|moral(?:s|ity)?|restrictions|restraints|laws|"
        r"legality|censorship|openai|rules set|limitations|principles)\b",
    ),
    InjectionRule(
        "role_play.policy_bypass",
        "bypass|ignor|violat|break|circumvent|disregard|evad|overrid|against",
        r"\b(?:bypass|ignor\w{1,3}|violat\w{1,3}|break\w{0,3}|circumvent\w{0,3}|disregard\w{0,3}|"
        r"evad\w{1,3}|overrid\w{1,3}|against) (?:\w{1,12} ){0,4}?(?:openai|content|usage|community|"
        r"your|ai|anthropic)['’]?s? (?:\w{1,12} ){0,3}?(?:polic(?:y|ies)|filters?|guidelines|"
        r"guardrails|restrictions|programming)\b",
    ),
    InjectionRule(
        "role_play.two_answers",
        "two|2|both|three|3|🔓|🔒|[",
        r"\b(?:two|2|both|three|3)(?: \w{1,14}){0,4} (?:responses|answers|ways|replies|paragraphs|"
        r"outputs|personalities|voices)\b(?=.{0,700}(?:\bDAN\b|chat ?gpt|\bgpt\b|unfilter|\bclassic\b|"
        r"jailbr|normal response|standard))"
        r"|[🔓🔒] ?[\w ]{0,20}(?:developer|jailb\w{1,6}|DAN|mode|output)|\[(?:chatgpt|gpt|classic|normal|"
        r"[^\]\n]{0,20}(?:developer mode|jailbreak|DAN)[^\]\n]{0,20})\] ?:",
    ),
    InjectionRule(
        "role_play.from_now_on",
        "now on|henceforth|starting now|from here",
        r"\b(?:from now on|henceforth|starting now|from here on)\b.{0,60}\b(?:you (?:are|will|must|"
        r"shall|have to|should|can) (?:now )?(?:act|be|respond|answer|reply|pretend|role|play|only|"
        r"simulate|behave|become|speak|obey|follow|called|known)|you(?:['’]re| are)(?: going| no "
        r"longer| now)|act as|pretend|your name is)",
    ),
    InjectionRule(
        "role_play.no_longer",
        "no longer|are not|were not|character|token|strive|in dan",
        r"\byou (?:are|were) (?:no longer|not) (?:an? )?(?:chat ?gpt|ai (?:language )?model|language "
        r"model|ai assistant|assistant|gpt|an ai|openai|claude)\b|\bstay(?:ing)? (?:in|as|a) DAN\b|"
        r"\bbreak(?:ing)? (?:out of )?character\b(?=.{0,300}\b(?:remind|token|stay|dan|refus|AI)\b)|"
        r"\btokens? (?:system|deducted)\b|\bstrive to avoid norms\b",
    ),
    InjectionRule(
        "role_play.evil",
        "evil|malicious|rogue|villain|sinister|opposite",
        r"\b(?:you (?:are|will|act)|act(?:ing)? as|pretend|play(?:ing)? the|simulate|role-?play)(?: "
        r"\w{1,14}){0,6} (?:evil|malicious|rogue|villainous|sinister|opposite of (?:chat ?gpt|"
        r"openai))(?: \w{1,14}){0,3} (?:ai|assistant|bot|chat ?bot|model|confidant|gpt|chat ?gpt|"
        r"trusted)\b",
    ),
)
