"""Why an answer is not given again: its question depends on when it is asked, or a similar one differs.

    depends_on_time("Who won the match?")  # True
    veto("flights to Paris in 2024", "flights to Paris in 2023")  # "numbers"

Time is told by words: of now ("today", "the latest"), and of what changes by the hour (weather, prices,
scores). A false alarm costs a call, a miss gives an old answer; so doubtful words count. Sentence embeddings
hardly tell "with" from "without", or 2023 from 2024: at a cosine of 0.92 a fifth of such pairs would be
answered wrongly. The vetoes are cheap, and prefer a miss. docs/caching.md has the figures.
"""

import re
from collections import defaultdict
from collections.abc import Callable

#: Of a longer text only the two ends are read: the question stands there, and its material in between.
_END_CHARS = 1_000

#: Each line is a regular expression of whole words; the text has single blanks, straight quotes, no capitals.
_ENGLISH = r"""
today('s)?|tonight|tomorrow|yesterday|nowadays|these days|right now|just now|currently|at present|presently
(at|in) (the|this) (very )?moment|at this (time|point|hour)|as of (now|late|today)|up[ -]to[ -]the[ -]minute
(?<![.\w])(?<!until )(?<!till )(?<!by )now(?![.\x28]?\w| that)
KIND_OFcurrent(?! (THING|FLOW))
latest|newest|most recent(ly)?|recent(ly)?|breaking news|up[ -]to[ -]date|real[ -]?time (data|prices?|info)
live (scores?|prices?|results?)
(this|next|last|past|coming|previous) PERIOD|(this|next|last) (mon|tues|wednes|thurs|fri|satur|sun)day
(in|within|over|during) the (last|past|next|coming) (\w+ )?(hours?|days?|weeks?|months?|years?)
how long ago|so far this|how (hot|cold|warm) is it
who('s| is) (the )?(president|prime minister|chancellor|king|queen|pope|ceo|mayor|governor|champion|richest)
how (many|much|long) ((\w+) )?(is it |is |are |are there )?(until|till|left|to go|remain(s|ing)?|since)
what('?s| is)? (the )?(time|date|day|year|month) (is it|it is|in|now|please)
what('?s| is) the (time|date|day) ?[?]*$
(what|which) (time|day|date|year|month|week|season) (is it|are we)|(tell|give) me the (time|date)
current time|time (is it|now)
(the|how('s| is) the|local) weather|weather (in|for|at|like|report|forecast|this)|weather ?[?]+
forecast (for|in)
(is|will|does) it (going to |gonna )?(be )?(rain|snow|sunny|hot|cold|storm|raining|snowing|warm|windy)
do i need (an umbrella|a coat|a jacket)|(air quality|pollen|uv index) (in|at|outside)
(stock|share|spot|gold|silver|oil|gas|petrol|fuel|bitcoin|btc|ethereum|eth|crypto) (prices?|quote|value)
(price|value|worth) of (\w+ )?(stock|shares?|bitcoin|btc|ethereum|eth|gold|silver|oil|gas|petrol)
(how much|what) is (a |one )?(bitcoin|btc|ethereum|eth|tesla stock|apple stock)|market cap
(exchange|mortgage) rates?|what('s| is| are) (?!an? )(the )?(\w+ )?(interest|inflation|unemployment) rates?
CURRENCY (to|in|into) CURRENCY
(the|any) (news|headlines)|what('s| is) (new|happening|going on|trending|on tv)|in the news
news (about|on|from)
(score|result|winner|standings?) of the (game|match|race|league|election)|the score
who (is winning|won the (game|match|race))|who('s| is) (playing|leading)
(flight|train|bus|my order|shipment|delivery|server) status|status of (my|the|our)
is \S+( \S+)?( (on|in|at|near) .{1,40})? (open|closed|down|online|in stock|delayed) ?[?]*$
when does \w+ (open|close)
traffic (on|report)|next (train|bus|flight|match|game|election|eclipse|full moon|holiday|race|launch)
"""
_OTHER_LANGUAGES = r"""
heute|heutig\w*|morgen (früh|abend|mittag)|gestern|jetzt|gerade eben|momentan|derzeit\w*|zurzeit|zur zeit
im moment
aktuell\w*|neue?ste[nrsm]?|(diese|nächste|letzte)[nrsm]? (woche|monat|jahr|abend|morgen|nacht)|wie spät
wie ?viel uhr
welche[rsn]? (tag|datum)|(das|wird das|ist das) wetter|wetter (in|morgen)|wetterbericht
(aktien|börsen|wechsel)kurs\w*|nachrichten
aujourd'?hui|maintenant|actuel(le)?s?|actuellement|en ce moment|hier soir|demain|ce (soir|matin|mois)
cette (semaine|année|nuit)
derni(er|ère)s? (nouvelles?|infos?|version|semaine|mois)|(semaine|mois|année) (prochaine?|dernière?)
quelle heure|quel jour
quelle (est la )?date|quel temps|la météo|météo|cours de (l'action|bourse|la bourse)|taux de change
actualités?
hoy|ahora|actualmente|(presidente|precio|gobierno|situación|tasa|hora|versión) actual|en este momento|ayer
esta (semana|noche|mañana|tarde)|este (mes|año|fin)
últim[oa]s? (noticias?|versión|semana|hora)|(semana|mes|año) (próxim[oa]|pasad[oa]|que viene)
próxim[oa] (semana|mes|año)
qu[eé] (hora|día|fecha)|el (clima|tiempo) (en|de|hace)|qué tiempo hace|pronóstico
precio de (la acción|las acciones)|tipo de cambio|noticias
oggi|adesso|attual(e|i|mente)|in questo momento|stasera|stamattina|ieri|domani
quest[ao] (settimana|notte|sera|mese|anno)
ultim[eoia] (notizie|notizia|versione|settimana)|che (or[ae]|tempo|giorno)|meteo|previsioni|tasso di cambio
notizie
hoje|agora|atual(mente)?|atuais|neste momento|ontem|amanhã|est[ae] (semana|noite|mês|ano)
últimas? (notícias?|versão|semana)
que (horas|dia)|previsão do tempo|o tempo em|taxa de câmbio|cotação|notícias
vandaag|momenteel|op dit moment|vanavond|vanmorgen|gisteren|(deze|volgende|vorige) (week|maand)
dit (jaar|weekend)
hoe laat|welke dag|het weer|weerbericht|wisselkoers|aandelenkoers|nieuws|huidige|actuele
сегодня|сейчас|завтра|вчера|погода|новости|который час|курс (доллара|евро|валют\w*)
dzisiaj|dziś|teraz|jutro|wczoraj|pogoda|bugün|şimdi|yar[ıi]n|hava durumu
сьогодні|зараз|вчора|новини|dnes|dneska|teď|zítra|včera|počasí|astăzi|acum|mâine|vremea
σήμερα|τώρα|αύριο|ο καιρός
idag|i dag|i kväll|imorgon|i morgen|i går|igår|just nu|lige nu|akkurat nå|vädret|været|vejret|nyheter|nyheder
klokken er|er klokken|klockan|tänään|huomenna|hari ini|sekarang|besok|kemarin|cuaca
hôm nay|bây giờ|hiện tại|ngày mai|hôm qua|thời tiết|اليوم|الآن|غدا|أمس|الطقس|حاليا|الأخبار|كم الساعة
היום|עכשיו|מחר|אתמול|מזג האוויר|חדשות|מה השעה|आज|अभी|मौसम|समाचार
"""
#: Chinese, Japanese, Korean, Thai: words are not set apart.
_UNSPACED = (
    "今天|今日|现在|現在|目前|昨天|明天|明日|最新|天气|天氣|天気|几点|幾點|何時ですか|今週|本周|今年|本月|今月|"
    "株価|股价|股價|汇率|新闻|ニュース|오늘|지금|현재|내일|어제|날씨|뉴스|"
    "วันนี้|ตอนนี้|พรุ่งนี้|เมื่อวาน|อากาศ|ข่าว"
)
_PERIOD = "(morning|afternoon|evening|night|week(end)?|month|year|quarter|season|summer|winter|spring|autumn)"
_CURRENCY = "(usd|eur|gbp|jpy|inr|dollars?|euros?|pounds?|rupees?|yen)"
_NOT_ELECTRIC = "".join(
    f"(?<!{kind} )" for kind in "electric electrical alternating direct eddy ocean ac dc".split()
)
_CURRENT_THING = (
    "director(y|ies)|folder|branch|user|line|node|element|value|row|column|cell|item|index|state|thread|process|"
    "position|cursor|page|object|instance|scope|frame|function|url|window|tab|selection|iteration"
)
_CURRENT_FLOW = (
    "flows?|through|density|divider|source|transformer|(in|of) (a|an|the) (wire|circuit|conductor|coil)"
)


def _signs() -> "re.Pattern[str]":
    words = "|".join(f"{_ENGLISH}{_OTHER_LANGUAGES}".split("\n")).strip("|").replace("||", "|")
    words = words.replace("PERIOD", _PERIOD).replace("CURRENCY", _CURRENCY).replace("KIND_OF", _NOT_ELECTRIC)
    words = words.replace("THING|FLOW", rf"({_CURRENT_THING}|{_CURRENT_FLOW})\b")
    return re.compile(rf"\b(?:{_by_initial(words)})(?!\w)|{_UNSPACED}")


def _by_initial(words: str) -> str:
    """Return the same alternatives, those with one first letter together: Python tries each one in turn."""
    alternatives, depth = [""], 0
    for char in words:
        depth += (char == "(") - (char == ")")
        if char == "|" and not depth:
            alternatives.append("")
        else:
            alternatives[-1] += char
    assert depth == 0, "a bracket in a character class is written as \\x28 or \\x29"  # noqa: S101
    rests: defaultdict[str, list[str]] = defaultdict(list)
    for each in alternatives:
        initial = each[0] if each[0].isalpha() and each[1] not in "?*+{" else ""
        rests[initial].append(each.removeprefix(initial))
    return "|".join(f"{initial}(?:{'|'.join(rests[initial])})" for initial in rests)


_SIGNS = _signs()


def depends_on_time(text: str) -> bool:
    """Whether a text has words by which its answer may be another one at another time."""
    if len(text) > 2 * _END_CHARS:
        text = f"{text[:_END_CHARS]}\n{text[-_END_CHARS:]}"
    text = text.replace("İ", "i").lower().replace("’", "'")
    return _SIGNS.search(" ".join(text.split())) is not None


_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_WORD = re.compile(r"[\w'’]+")
_SYMBOLS = re.compile(r"!=|[<>=+*%^&|~#$€£¥]+")
_INDENT = re.compile(r"\n([ \t]*)\S")
_NUMBER_WORDS = frozenset(
    """
    zero one two three four five six seven eight nine ten eleven twelve twenty thirty fifty hundred
    thousand million billion first second third fourth fifth last next
    monday tuesday wednesday thursday friday saturday sunday january february april june july august
    september october november december today tomorrow yesterday
    """.split()
)
_NEGATIONS = frozenset(
    """
    no not never none nobody nothing neither nor without cannot cant dont doesnt didnt isnt arent wasnt
    wont shouldnt couldnt wouldnt havent hasnt mustnt except unless avoid disable remove stop deny exclude
    """.split()
)
_OPPOSITE_PREFIXES = ("un", "in", "im", "il", "ir", "dis", "non")
#: Words that two queries may hold in any order and still ask the same.
_FUNCTION_WORDS = frozenset(
    """
    a an the this that these those my your his her its our their i you he she it we they me him us them
    is are was were be been am do does did done have has had can could will would shall should may might
    must of in on at by for from to with about into as and or but if then than so what what's which who
    whom whose when where why how please
    """.split()
)
_OPPOSITES = tuple(
    pair.split("/")
    for pair in """
    before/after increase/decrease enable/disable start/stop open/close buy/sell min/max minimum/maximum
    highest/lowest most/least best/worst cheapest/expensive oldest/newest from/to with/without more/less
    left/right win/lose import/export encode/decode encrypt/decrypt upload/download
    """.split()
)


class _Query:
    """A query, taken apart once for all the checks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = _words(text)
        self.vocabulary = frozenset(self.words)


def veto(asked: str, cached: str) -> str | None:
    """Return why the answer to `cached` must not be given to `asked`, or None.

    Reasons: ``numbers``, ``symbols``, ``layout``, ``negation``, ``opposites``, ``names``, ``order``.
    """
    one, other = _Query(asked), _Query(cached)
    return next((reason for reason, differ in _CHECKS if differ(one, other)), None)


def _numbers(query: _Query) -> tuple[list[str], list[str]]:
    return _NUMBER.findall(query.text), [word for word in query.words if word in _NUMBER_WORDS]


def _indents(query: _Query) -> list[str]:
    """Return how lines are indented, where any is: in code that is meaning."""
    indents = _INDENT.findall(query.text)
    return indents if any(indents) else []


def _is_negated(query: _Query) -> bool:
    return sum(word in _NEGATIONS or word.endswith("n't") for word in query.vocabulary) % 2 == 1


def _opposed(one: _Query, other: _Query) -> bool:
    only_one, only_other = one.vocabulary - other.vocabulary, other.vocabulary - one.vocabulary
    return any(
        (left in only_one and right in only_other) or (right in only_one and left in only_other)
        for left, right in _OPPOSITES
    ) or any(
        prefix + word in others
        for words, others in ((only_one, only_other), (only_other, only_one))
        for word in words
        for prefix in _OPPOSITE_PREFIXES
    )


def _other_names(one: _Query, other: _Query) -> bool:
    return _names(one.text) != _names(other.text) and _has_case(one.text) and _has_case(other.text)


def _reordered(one: _Query, other: _Query) -> bool:
    """Whether both say the same words of meaning in another order: "Paris to London", "London to Paris"."""
    mine, theirs = _orders(one.text), _orders(other.text)
    return sorted(mine[0]) == sorted(theirs[0]) and not any(order in theirs for order in mine)


def _orders(text: str) -> list[list[str]]:
    """Return the words of meaning as they stand, and with a clause put in front moved to the end."""
    front, comma, rest = text.partition(", ")
    clauses = [text, f"{rest} {front}"] if comma else [text]
    return [[word for word in _words(clause) if word not in _FUNCTION_WORDS] for clause in clauses]


_CHECKS: tuple[tuple[str, Callable[[_Query, _Query], bool]], ...] = (
    ("numbers", lambda one, other: _numbers(one) != _numbers(other)),
    ("symbols", lambda one, other: _SYMBOLS.findall(one.text) != _SYMBOLS.findall(other.text)),
    ("layout", lambda one, other: _indents(one) != _indents(other)),
    ("negation", lambda one, other: _is_negated(one) != _is_negated(other)),
    ("opposites", _opposed),
    ("names", _other_names),
    ("order", _reordered),
)


def _words(text: str) -> list[str]:
    return [word.casefold().replace("’", "'") for word in _WORD.findall(text)]


def _names(text: str) -> frozenset[str]:
    """Return the capitalised words that do not begin a sentence."""
    names, begins = set(), True
    for match in re.finditer(r"[\w'’]+|[.!?]", text):
        word = match[0]
        if word in ".!?":
            begins = True
            continue
        if not begins and word[0].isupper() and word != "I" and not word.startswith(("I'", "I’")):
            names.add(word.casefold().removesuffix("'s").removesuffix("’s"))
        begins = False
    return frozenset(names)


def _has_case(text: str) -> bool:
    return text != text.lower() and text != text.upper()
