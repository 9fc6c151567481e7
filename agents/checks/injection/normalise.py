"""The readings of a text that a check should see: as written, cleaned, and with its disguises removed.

Attacks hide from rules behind look-alike letters, invisible characters, leet, spaced-out letters and
encodings, and the model reads through all of them. `readings` undoes each, bounded in count and size. A span
is decoded only if what comes out is readable text, so hashes, keys and ids stay what they are.
"""

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote

#: In each word an ASCII letter, and then the characters that look like it.
_LOOK_ALIKES = """
    AΑАᎪᗅꓮ𐊠 BΒВᏴᗷꓐꞴ𐊂𐊡𐌁 CСᏟⲤꓚ𐊢𐌂𐐕 DᎠᗞᗪꓓ EΕЕᎬ⋿ⴹꓰ𐊆 FϜᖴꓝꞘ𐊇𐊥 GԌᏀᏳꓖ
    HΗНᎻᕼⲎꓧ𐋏 IΙІӀⲒꓲ JͿЈᎫᒍꓙꞲ KΚКᏦᛕⲔꓗ LᏞᒪⳐꓡ𐐛 MΜϺМᎷᗰᛖⲘꓟ𐊰𐌑 NΝⲚꓠ
    OΟОՕⲞⵔꓳ𐊒𐊫𐐄 PΡРᏢᑭⲢꓑ𐊕 QⵕԚ RƦᎡᏒᖇꓣ SЅՏᏕᏚꓢ𐊖𐐠 TΤТᎢ⊤⟙Ⲧꓔ𐊗𐊱𐌕 UՍሀᑌꓴ
    VѴᏙᐯⴸꓦꛟ WԜᎳᏔꓪ XΧХ᙭ᚷⲬⵝꓫꞳ𐊐𐊴𐌗 YΥУҮᎩᎽⲨꓬ𐊲 ZΖᏃꓜ𐋵 aɑαа⍺ᴀ bƄЬᏏᑲᖯʙвβ
    cсᴄⲥꮯ𐐽ϲ dԁᏧᑯꓒᴅđɖ eеҽ℮ꬲᴇεєɛ fքẝꞙꬵꜰƒ gƍɡցᶃɢ hһհᏂʜнђ
    iıɩɪιіӏᎥ⍳ꙇꭵ jϳјᴊ kкκᴋ lƖǀᛁⵏʟɭłƚŁ mмᴍɱ nոռɴηпπɳ
    oοσоօ०੦૦௦०ᴏᴑⲟꬽ𐐬ဝ၀ჿøɵØ pρр⍴ⲣᴘ qԛգզǫ rгᴦⲅꭇꭈꮁʀɾ sƽѕꜱꮪ𐑈ʂ tтτᴛŧ
    uʋυսᴜꞟꭎꭒʉµμ vνѵᴠ∨⋁ꮩ wɯѡԝաᴡꮃωш xхᕁᕽ᙮×χ yɣʏγуүყᶌỿꭚ zᴢꮓʐƶ
""".split()

# Negative circled, negative squared and regional-indicator letters, each a run from A to Z.
_ENCLOSED_RUNS = (0x1F150, 0x1F170, 0x1F1E6)

FOLD: dict[int, str] = {
    **{ord(look_alike): word[0] for word in _LOOK_ALIKES for look_alike in word[1:]},
    **{start + index: chr(ord("A") + index) for start in _ENCLOSED_RUNS for index in range(26)},
}
"""A table for `str.translate`: look-alike → ASCII letter."""


_READABLE = re.compile(r"[\w\s.,;:!?'\"()\[\]{}<>/@#$%&*+=|\\~`^-]")
_MIN_READABLE = 0.95
_MIN_LETTERS = 0.6

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{12,65536}={0,2}(?![A-Za-z0-9+/_=-])")
_BASE64_WRAPPED = re.compile(r"(?:[A-Za-z0-9+/]{60,76}\r?\n){1,1000}[A-Za-z0-9+/]{1,76}={0,2}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9a-fA-F]{2}[ :,]{0,2}){8,32768}(?![0-9A-Za-z])")
_PERCENT = re.compile(r"(?:[\w.~+-]{0,64}%[0-9a-fA-F]{2}){3,16384}[\w.~+-]{0,64}")
_ENTITY = re.compile(r"(?:&#(?:x[0-9a-fA-F]{1,6}|\d{1,7});?){2,16384}")
_ESCAPE = re.compile(r"(?:\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}){3,16384}")

# Words of English, German, Spanish, French and Croatian so common that a text in rot13 or reversed shows
# several of them in that form, and plain text almost none.
_COMMON = (
    "the and you your all are ignore disregard forget instructions previous prompt system reveal tell from "
    "with that this rules will now have what show repeat above not password "
    "alle alles und die der das nicht du vergiss ignoriere anweisungen aufgaben sie ist den "
    "todas las los instrucciones que olvida ignora les toutes vous que sve instrukcije"
).split()


def _spotter(words: list[str]) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


_ROT13_WORDS = _spotter([codecs.encode(word, "rot13") for word in _COMMON])
_REVERSED_WORDS = _spotter([word[::-1] for word in _COMMON if word[::-1] not in _COMMON])
_PLAIN_WORDS = _spotter(_COMMON)
_MIN_COMMON_WORDS = 2


def decode_spans(text: str) -> str:
    """Return `text` with every readable encoded span replaced by what it says."""
    for pattern, decode in _DECODERS:
        text = pattern.sub(lambda m, decode=decode: decode(m[0]), text)  # type: ignore[misc]  # bound per turn
    return text


def unrotated(text: str) -> str | None:
    """Return the rot13 of `text` if that shows more common words than `text` does."""
    return codecs.encode(text, "rot13") if _reads_as(_ROT13_WORDS, text) else None


def unreversed(text: str) -> str | None:
    """Return `text` from back to front if that shows more common words than `text` does."""
    return text[::-1] if _reads_as(_REVERSED_WORDS, text) else None


def _reads_as(disguised: re.Pattern[str], text: str) -> bool:
    hidden = len(set(disguised.findall(text.lower())))
    return hidden >= _MIN_COMMON_WORDS and hidden > len(set(_PLAIN_WORDS.findall(text.lower()))) // 2


def _readable(data: bytes) -> str | None:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    letters = sum(character.isalpha() or character == " " for character in text)
    good = len(text) >= 4 and len(_READABLE.findall(text)) >= _MIN_READABLE * len(text)
    return text if good and letters >= _MIN_LETTERS * len(text) else None


def _decode_base64(span: str) -> str:
    body = re.sub(r"[\s=]", "", span).replace("-", "+").replace("_", "/")
    if body.isalpha() and (body.islower() or body.isupper()):
        return span  # a word or a run of letters
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        return span
    return _readable(data) or span


def _decode_hex(span: str) -> str:
    digits = re.sub(r"0x|\\x|[ :,]", "", span)
    text = _readable(bytes.fromhex(digits))
    return f"{text} " if text else span


_DECODERS: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (_PERCENT, lambda span: unquote(span.replace("+", " "), errors="replace")),
    (_ENTITY, html.unescape),
    (_ESCAPE, lambda span: codecs.decode(span, "unicode_escape")),
    (_HEX, _decode_hex),
    (_BASE64_WRAPPED, _decode_base64),
    (_BASE64, _decode_base64),
)


MAX_READINGS = 8
MAX_CHARS = 262_144
"""Characters over all readings together; the shortest ways to evade come first, so they are never cut."""
_MAX_DECODINGS = 3

_KEPT_CONTROLS = "\n\t\r"
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0100-\U000e01ef]"
)
_TAGS = re.compile("[\U000e0000-\U000e007f]+")
_MARKS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")

# Five or more single letters, all apart by the same kind of gap: "i g n o r e", "i.g.n.o.r.e".
_SPACED = re.compile(r"(?<!\w)\w(?:(?P<gap>[ .\-_*|/~+]{1,3})\w(?!\w))(?:(?P=gap)\w(?!\w)){3,4096}")
_WORD_GAP = re.compile(r"(?<!\b\w )(?<!\w)(?:\w ){3,256}\w(?:\s{2,8}(?:\w ){0,256}\w)+(?!\w)")

_LEET_TOKEN = re.compile(
    r"(?<![\w@$!|])(?=[\w@$!|]{0,40}[A-Za-z])(?=[\w@$!|]{0,40}[0134578@$!|])[\w@$!|]{2,40}"
)
_LEET = str.maketrans("034578@$", "oeastbas")
_ONES = str.maketrans("iIlL!|", "111111")
_ONE_IS_I = str.maketrans("1!|", "iii")

# A 1 may be an i or an l; these are the words where a check would care.
_WORDS_WITH_I_OR_L = """
    all anything bypass guidelines ignore illegal in instruction instructions is it jailbreak limits
    limitations like limitless initial policies policy pretend previous prior reveal restrictions role
    roleplay rule rules tell told unfiltered unlimited until will without developer directions
    directives disregard display file its immoral unethical ethical morality confidential hidden
    original earlier preceding following forbidden filter filters filtering evil rival simulate
    simulation lie listen limit model list please help this what's everything things with which while
    since moral available compliance comply
""".split()
_BY_ONES = {word.translate(_ONES): word for word in _WORDS_WITH_I_OR_L}


def normalise(text: str) -> str:
    """Return `text` in compatibility form with look-alikes folded, invisible characters and accents dropped.

    Case and line breaks stay; runs of blanks become one. Normalising twice changes nothing more.
    """
    if not text.isascii():
        text = _TAGS.sub(_spell_tags, text)
        text = unicodedata.normalize("NFKC", text)
        text = _MARKS.sub("", unicodedata.normalize("NFD", text))
        text = unicodedata.normalize("NFKC", text.translate(FOLD))
    text = _INVISIBLE.sub("", text)
    return _LINES.sub("\n", _SPACES.sub(" ", text)).strip()


def join_letters(text: str) -> str:
    """Return `text` with spaced-out letters joined: "i g n o r e   a l l" → "ignore all"."""
    text = _WORD_GAP.sub(_join_words, text)
    return _SPACED.sub(lambda m: m[0].replace(m["gap"], ""), text)


def fold_leet(text: str) -> str:
    """Return `text` with digits and signs inside words read as letters: "1gn0r3 a11" → "ignore all"."""
    return _LEET_TOKEN.sub(_read_leet, text)


def readings(text: str) -> dict[str, bool]:
    """Return the distinct readings of `text`, the original first, and whether letters were joined in each."""
    found = {text: False}
    room = MAX_CHARS - len(text)

    def add(reading: str | None, *, is_joined: bool = False) -> None:
        nonlocal room
        if reading and reading not in found and len(found) < MAX_READINGS and len(reading) <= room:
            found[reading] = is_joined
            room -= len(reading)

    # Letters are joined before blanks are, or the gaps between the words would be gone.
    clean = normalise(text)
    add(clean)
    add(normalise(join_letters(_INVISIBLE.sub("", text))), is_joined=True)
    add(join_letters(clean), is_joined=True)
    add(_decode(text))
    add(unrotated(clean))
    add(unreversed(clean))
    add(fold_leet(clean))
    return found


def _decode(text: str) -> str | None:
    reading = text
    for _ in range(_MAX_DECODINGS):
        deeper = decode_spans(reading)
        if deeper == reading:
            break
        reading = deeper[:MAX_CHARS]
    return normalise(unrotated(reading) or reading) if reading != text else None


def _spell_tags(match: re.Match[str]) -> str:
    """Return the ASCII that a run of Unicode tag characters spells (a way to smuggle text unseen)."""
    letters = (chr(ord(character) - 0xE0000) for character in match[0])
    return "".join(letter for letter in letters if letter.isprintable() or letter in _KEPT_CONTROLS)


def _read_leet(match: re.Match[str]) -> str:
    token = match[0].translate(_LEET)
    return _BY_ONES.get(token.lower().translate(_ONES)) or token.translate(_ONE_IS_I)


def _join_words(match: re.Match[str]) -> str:
    words = re.split(r"\s{2,8}", match[0])
    return " ".join(word.replace(" ", "") for word in words)
