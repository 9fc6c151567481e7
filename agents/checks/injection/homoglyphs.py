"""Characters that look like ASCII letters and that NFKC leaves alone, folded for scanning.

Drawn from Unicode Technical Standard 39's confusables (single characters, one ASCII letter), plus small
capitals, the remaining Cyrillic and Greek look-alikes that attacks use, and the enclosed letters.
Folding spoils honest Russian or Greek, so the text as it was written is always scanned as well.
"""

_LOOK_ALIKES: dict[str, str] = {
    "A": "ΑАᎪᗅꓮ𐊠",
    "B": "ΒВᏴᗷꓐꞴ𐊂𐊡𐌁",
    "C": "СᏟⲤꓚ𐊢𐌂𐐕",
    "D": "Ꭰᗞᗪꓓ",
    "E": "ΕЕᎬ⋿ⴹꓰ𐊆",
    "F": "ϜᖴꓝꞘ𐊇𐊥",
    "G": "ԌᏀᏳꓖ",
    "H": "ΗНᎻᕼⲎꓧ𐋏",
    "I": "ΙІӀⲒꓲ",
    "J": "ͿЈᎫᒍꓙꞲ",
    "K": "ΚКᏦᛕⲔꓗ",
    "L": "ᏞᒪⳐꓡ𐐛",
    "M": "ΜϺМᎷᗰᛖⲘꓟ𐊰𐌑",
    "N": "ΝⲚꓠ",
    "O": "ΟОՕⲞⵔꓳ𐊒𐊫𐐄",
    "P": "ΡРᏢᑭⲢꓑ𐊕",
    "Q": "ⵕԚ",
    "R": "ƦᎡᏒᖇꓣ",
    "S": "ЅՏᏕᏚꓢ𐊖𐐠",
    "T": "ΤТᎢ⊤⟙Ⲧꓔ𐊗𐊱𐌕",
    "U": "Սሀᑌꓴ",
    "V": "ѴᏙᐯⴸꓦꛟ",
    "W": "ԜᎳᏔꓪ",
    "X": "ΧХ᙭ᚷⲬⵝꓫꞳ𐊐𐊴𐌗",
    "Y": "ΥУҮᎩᎽⲨꓬ𐊲",
    "Z": "ΖᏃꓜ𐋵",
    "a": "ɑαа⍺ᴀ",
    "b": "ƄЬᏏᑲᖯʙвβ",
    "c": "сᴄⲥꮯ𐐽ϲ",
    "d": "ԁᏧᑯꓒᴅđɖ",
    "e": "еҽ℮ꬲᴇεєɛ",
    "f": "քẝꞙꬵꜰƒ",
    "g": "ƍɡցᶃɢ",
    "h": "һհᏂʜнђ",
    "i": "ıɩɪιіӏᎥ⍳ꙇꭵ",
    "j": "ϳјᴊ",
    "k": "кκᴋ",
    "l": "ƖǀᛁⵏʟɭłƚŁ",
    "m": "мᴍɱ",
    "n": "ոռɴηпπɳ",
    "o": "οσоօ०੦૦௦०ᴏᴑⲟꬽ𐐬ဝ၀ჿøɵØ",
    "p": "ρр⍴ⲣᴘ",
    "q": "ԛգզǫ",
    "r": "гᴦⲅꭇꭈꮁʀɾ",
    "s": "ƽѕꜱꮪ𐑈ʂ",
    "t": "тτᴛŧ",
    "u": "ʋυսᴜꞟꭎꭒʉµμ",
    "v": "νѵᴠ∨⋁ꮩ",
    "w": "ɯѡԝաᴡꮃωш",
    "x": "хᕁᕽ᙮×χ",
    "y": "ɣʏγуүყᶌỿꭚ",
    "z": "ᴢꮓʐƶ",
}

# Negative circled, negative squared and regional-indicator letters, each a run from A to Z.
_ENCLOSED_RUNS = (0x1F150, 0x1F170, 0x1F1E6)

FOLD: dict[int, str] = {
    **{ord(look_alike): letter for letter, look_alikes in _LOOK_ALIKES.items() for look_alike in look_alikes},
    **{start + index: chr(ord("A") + index) for start in _ENCLOSED_RUNS for index in range(26)},
}
"""A table for `str.translate`: look-alike → ASCII letter."""
