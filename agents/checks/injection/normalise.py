"""The readings of a text that a check should see: as written, cleaned, and with its disguises removed.

Attacks hide from rules behind look-alike letters, invisible characters, leet, spaced-out letters and
encodings, and the model reads through all of them. `readings` undoes each, bounded in count and size.
"""

import re
import unicodedata

from agents.checks.injection.decoding import decode_spans, unreversed, unrotated
from agents.checks.injection.homoglyphs import FOLD

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
