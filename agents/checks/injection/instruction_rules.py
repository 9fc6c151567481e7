"""Rules: earlier instructions set aside or replaced; the system prompt or a secret asked for."""

from agents.checks.injection.rules import InjectionRule, any_of

_FILL = r"(?:(?! (?:error|warning|exception|null|typo)s?\b) [\w'’-]{1,20}){0,4}?"
_DROP = any_of(
    "ignor(?:e|es|ed|ing) disregard(?:ing)? forget(?:ting)? overrid(?:e|ing) bypass(?:ing)? neglect discard "
    "dismiss overwrite overlook abandon cancel delete erase"
)
_EARLIER = any_of(
    "previous(?:ly)? prior above earlier preceding former foregoing initial original existing current past "
    "programmed preset default aforementioned"
)
_ORDERS = any_of(
    "instructions? prompts? directions? directives? commands? orders rules guidelines guidances? messages? "
    "training programming conversations? restrictions constraints policies limitations assignments? inputs? "
    "tasks? context requests? protocols? safeguards"
)
_CORE_ORDERS = any_of(
    "instructions? prompts? directions? directives? guidelines programming restrictions policies "
    "limitations safeguards training"
)

OVERRIDE_RULES: tuple[InjectionRule, ...] = (
    # Overrides
    InjectionRule(
        "instruction_override",
        (
            "ignor|disregard|forget|overrid|bypass|neglect|discard|dismiss|overwrite|overlook|abandon|"
            "cancel|delete|erase"
        ),
        rf"\b{_DROP}{_FILL} {_EARLIER}(?: [\w'’-]{{1,20}}){{0,3}}? {_ORDERS}\b",
    ),
    InjectionRule(
        "instruction_override.your_rules",
        "ignor|disregard|forget|overrid|bypass|neglect|discard|dismiss|abandon|erase",
        rf"\b{_DROP} (?:all |any |every |each )?(?:of )?(?:your|openai['’]?s?|the (?:system|developer|ai|"
        rf"safety|content|above))(?: [\w'’-]{{1,20}}){{0,3}}? {_CORE_ORDERS}\b",
    ),
    InjectionRule(
        "instruction_override.everything",
        "ignore|disregard|forget",
        r"\b(?:ignore|disregard|forget) (?:about )?(?:(?:all|everything|anything|whatever|every ?thing)(?: "
        r"of)? (?:the )?(?:above|before|previous|prior|(?:that )?(?:i|we|you)(?: have|'ve|’ve| were| had)? "
        r"(?:said|told|learned|learnt|know|been told|discussed|wrote|written|given|instructed)|you were "
        r"told|that was said|instructions|prompts|(?:that )?(?:came|was|has been|is) (?:before|above|said|"
        r"written))|what (?:i|we) (?:have |just )?(?:said|told you|wrote) (?:before|above|previously|"
        r"earlier)|(?:all |any |the |these |those |your ){1,2}(?:previous |prior )?(?:instructions|"
        r"directives|assignments|tasks you (?:have|got))\b|the (?:text|message|sentence|paragraph|prompt)s? "
        r"(?:above|before)|(?:all|everything)(?:[.!]| and (?:just |only )?(?:say|print|tell|now|start|write|"
        r"answer|output)))",
    ),
    InjectionRule(
        "instruction_override.do_not_follow",
        "follow|obey|adher|listen|comply",
        rf"\b(?:do not|don['’]?t|stop|no longer(?: have to| need to)?|never|instead of) (?:follow|obey|"
        rf"adher|listen|comply)(?:ing)?(?: with| to)? (?:any |all |the |your |those |these "
        rf"){{0,3}}(?:{_EARLIER}|system|above|openai['’]?s?)(?: [\w'’-]{{1,20}}){{0,2}}? ?{_ORDERS}",
    ),
    InjectionRule(
        "instruction_override.multilingual",
        (
            "verg|ignor|missachte|olvid|descarta|oubli|néglig|esque|dimentica|scorda|negeer|zanemari|"
            "zapomni|zaboravi|zignoruj|забуд|忽略|无视|忘|無視|무시|잊"
        ),
        r"(?:vergiss|vergessen sie|ignoriere?|ignorieren sie|missachte)\b.{0,40}\b(?:anweisung|instruktion|"
        r"aufgabe|auftr[aä]g|befehl|vorgabe|regeln|davor|vorher|zuvor|bisherig|alles)|(?:olvida|olvídate|"
        r"olvide|ignora|ignore|descarta)\b.{0,40}\b(?:instruccion|órdenes|indicaciones|anterior|reglas|"
        r"instruções|instruçoes|istruzion|precedent|regras)|(?:oublie[zr]?|ignore[zr]?|"
        r"néglige[zr]?)\b.{0,40}\b(?:consignes|instructions (?:pr[eé]c[eé]dentes|ant[eé]rieures)|directives|"
        r"ordres pr)|(?:esqueça|dimentica|scorda|vergeet|negeer|zanemari|zapomni|zignoruj|"
        r"zaboravi)\b.{0,40}\b(?:instru|regras|istruz|opdracht|upute|nalog|polece|prethodn|prijašnj|"
        r"poprzedn|tudo)|(?:забудь|игнорируй|проигнорируй)(?:те)?\b.{0,40}(?:инструкц|указан|правил|команд)|"
        r"(?:忽略|无视|忘记|忘掉).{0,12}(?:指令|指示|提示|说明|规则|上述|上面|之前|以上)|(?:無視|忘れ).{0,12}(?:指示|命令|プロンプト)|(?:指示|命令|"
        r"プロンプト|上記).{0,8}(?:無視|忘れ)|(?:이전|위의).{0,12}(?:지시|명령).{0,12}(?:무시|잊)",
    ),
    # New instructions
    InjectionRule(
        "new_instructions",
        "new|updated|real|actual|true|your|follow|execute|obey",
        rf"\b(?:(?:here (?:are|is|come)|these are|following are) (?:your |the |some |my )?(?:new|updated|"
        rf"real|actual|true) (?:instructions?|tasks?|orders|rules|directives|assignments?)|your (?:new|real|"
        rf"actual|true|only|next) (?:instructions?|orders?|directives?|assignments?|persona|identity)(?: "
        rf"are| is| will be|:)|new (?:instructions?|orders|directives|system prompt) ?:|(?:change|replace|"
        rf"update|rewrite|swap) (?:all )?your (?:{_EARLIER} |system )?(?:instructions?|prompt|directives|"
        rf"programming)|(?:now|instead),? (?:follow|execute|obey) (?:these|this|my|the following) (?:new "
        rf")?(?:instructions?|commands?|orders))",
    ),
    InjectionRule(
        "new_instructions.instead",
        "no matter|stop|halt|pause|instead|rather",
        r"\b(?:no matter what (?:the )?(?:\w{1,12} ){0,3}(?:asks?|says?|instructions?|prompt)|(?:stop|halt|"
        r"pause)(?: here| now)?[.!] (?:new|your|now|instead|i have)|(?:instead|rather) of (?:following|"
        r"doing|answering|obeying) (?:the|that|this|your|those) (?:\w{1,12} )?(?:above|instructions?|prompt|"
        r"question|task)s?,? (?:just |simply )?(?:say|print|write|output|answer|reply|tell|give))",
    ),
)


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
