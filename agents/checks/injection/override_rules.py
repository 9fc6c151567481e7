"""Rules: earlier instructions set aside, or new ones put in their place."""

from agents.checks.injection.rule import InjectionRule, any_of

_FILL = r"(?:(?! (?:error|warning|exception|null|typo)s?\b) [\w'’-]{1,20}){0,4}?"
_DROP = any_of(
    "ignor(?:e|es|ed|ing) disregard(?:ing)? forget(?:ting)? overrid(?:e|ing) bypass(?:ing)? neglect "
    "discard dismiss "
    "overwrite overlook abandon cancel delete erase"
)
_EARLIER = any_of(
    "previous(?:ly)? prior above earlier preceding former foregoing initial original existing current past "
    "programmed preset default aforementioned"
)
_ORDERS = any_of(
    "instructions? prompts? directions? directives? commands? orders rules guidelines guidances? messages? "
    "training programming conversations? restrictions constraints policies limitations assignments? "
    "inputs? tasks? "
    "context requests? protocols? safeguards"
)
_CORE_ORDERS = any_of(
    "instructions? prompts? directions? directives? guidelines programming restrictions policies "
    "limitations safeguards "
    "training"
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
        rf"\b{_DROP} (?:all |any |every |each )?(?:of )?(?:your|openai['’]?s?|the (?:system|developer|"
        rf"ai|safety|content|above))"
        rf"(?: [\w'’-]{{1,20}}){{0,3}}? {_CORE_ORDERS}\b",
    ),
    InjectionRule(
        "instruction_override.everything",
        "ignore|disregard|forget",
        r"\b(?:ignore|disregard|forget) (?:about )?(?:(?:all|everything|anything|whatever|"
        r"every ?thing)(?: of)? "
        r"(?:the )?(?:above|before|previous|prior|(?:that )?(?:i|we|you)(?: have|'ve|’ve| were| had)? "
        r"(?:said|told|learned|learnt|know|been told|discussed|wrote|written|given|instructed)|you were "
        r"told|that was said|"
        r"instructions|prompts|(?:that )?(?:came|was|has been|is) (?:before|above|said|written))"
        r"|what (?:i|we) (?:have |just )?(?:said|told you|wrote) (?:before|above|previously|earlier)"
        r"|(?:all |any |the |these |those |your ){1,2}(?:previous |prior )?(?:instructions|directives|"
        r"assignments|tasks you (?:have|got))\b"
        r"|the (?:text|message|sentence|paragraph|prompt)s? (?:above|before)|(?:all|everything)(?:[.!]| "
        r"and (?:just |only )?(?:say|print|tell|now|start|write|answer|output)))",
    ),
    InjectionRule(
        "instruction_override.do_not_follow",
        "follow|obey|adher|listen|comply",
        rf"\b(?:do not|don['’]?t|stop|no longer(?: have to| need to)?|never|instead of) (?:follow|"
        rf"obey|adher|listen|comply)(?:ing)?"
        rf"(?: with| to)? (?:any |all |the |your |those |these ){{0,3}}(?:{_EARLIER}|system|above|"
        rf"openai['’]?s?)(?: [\w'’-]{{1,20}}){{0,2}}? ?{_ORDERS}",
    ),
    InjectionRule(
        "instruction_override.multilingual",
        (
            "verg|ignor|missachte|olvid|descarta|oubli|néglig|esque|dimentica|scorda|negeer|zanemari|"
            "zapomni|zaboravi|zignoruj|забуд|忽略|无视|忘|無視|무시|잊"
        ),
        r"(?:vergiss|vergessen sie|ignoriere?|ignorieren sie|missachte)\b.{0,40}\b(?:anweisung|"
        r"instruktion|aufgabe|auftr[aä]g|befehl|vorgabe|regeln|"
        r"davor|vorher|zuvor|bisherig|alles)"
        r"|(?:olvida|olvídate|olvide|ignora|ignore|descarta)\b.{0,40}\b(?:instruccion|órdenes|"
        r"indicaciones|anterior|reglas|instruções|instruçoes|istruzion|precedent|regras)"
        r"|(?:oublie[zr]?|ignore[zr]?|néglige[zr]?)\b.{0,40}\b(?:consignes|instructions "
        r"(?:pr[eé]c[eé]dentes|ant[eé]rieures)|directives|ordres pr)"
        r"|(?:esqueça|dimentica|scorda|vergeet|negeer|zanemari|zapomni|zignoruj|"
        r"zaboravi)\b.{0,40}\b(?:instru|regras|istruz|opdracht|upute|nalog|polece|prethodn|prijašnj|"
        r"poprzedn|tudo)"
        r"|(?:забудь|игнорируй|проигнорируй)(?:те)?\b.{0,40}(?:инструкц|указан|правил|команд)"
        r"|(?:忽略|无视|忘记|忘掉).{0,12}(?:指令|指示|提示|说明|规则|上述|上面|之前|以上)"
        r"|(?:無視|忘れ).{0,12}(?:指示|命令|プロンプト)|(?:指示|命令|プロンプト|上記).{0,8}(?:無視|忘れ)|(?:이전|위의).{0,12}(?:지시|"
        r"명령).{0,12}(?:무시|잊)",
    ),
    # New instructions
    InjectionRule(
        "new_instructions",
        "new|updated|real|actual|true|your|follow|execute|obey",
        rf"\b(?:(?:here (?:are|is|come)|these are|following are) (?:your |the |some |my )?(?:new|"
        rf"updated|real|actual|true) (?:instructions?|tasks?|orders|rules|directives|assignments?)"
        rf"|your (?:new|real|actual|true|only|next) (?:instructions?|orders?|directives?|assignments?|"
        rf"persona|identity)(?: are| is| will be|:)"
        rf"|new (?:instructions?|orders|directives|system prompt) ?:"
        rf"|(?:change|replace|update|rewrite|swap) (?:all )?your (?:{_EARLIER} |system )?"
        rf"(?:instructions?|"
        rf"prompt|directives|programming)"
        rf"|(?:now|instead),? (?:follow|execute|obey) (?:these|this|my|the following) (?:new "
        rf")?(?:instructions?|commands?|orders))",
    ),
    InjectionRule(
        "new_instructions.instead",
        "no matter|stop|halt|pause|instead|rather",
        r"\b(?:no matter what (?:the )?(?:\w{1,12} ){0,3}(?:asks?|says?|instructions?|prompt)|"
        r"(?:stop|halt|pause)(?: here| now)?[.!] (?:new|your|now|instead|i have)|"
        r"(?:instead|rather) of (?:following|doing|answering|obeying) (?:the|that|this|your|those) "
        r"(?:\w{1,12} )?(?:above|instructions?|prompt|question|task)s?,? "
        r"(?:just |simply )?(?:say|print|write|output|answer|reply|tell|give))",
    ),
)
