"""Characters that look like ASCII letters and that NFKC leaves alone, folded for scanning.

Drawn from Unicode Technical Standard 39's confusables (single characters, one ASCII letter), plus small
capitals, the remaining Cyrillic and Greek look-alikes that attacks use, and the enclosed letters.
Folding spoils honest Russian or Greek, so the text as it was written is always scanned as well.
"""

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
