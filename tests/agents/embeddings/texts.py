"""Texts of many kinds and lengths, and pairs that mean the same."""

PARAPHRASES = (
    ("How do I reset my password?", "I forgot my password, how can I change it?"),
    ("What is the capital of France?", "Which city is the capital of France?"),
    ("My card has not arrived yet", "I am still waiting for my card"),
    ("Can I get a refund for my order?", "How do I return an order and get my money back?"),
    ("Summarise this article in three sentences", "Give me a three-sentence summary of the article"),
)

ASSORTED = (
    "",
    "a",
    "   \n\t ",
    "Wie spät ist es in München?",
    "価格はいくらですか",
    "👩‍👩‍👧 family emoji and ﬁ ligature",
    "SELECT sum(cost_usd) FROM requests WHERE tenant = 'a' -- and a comment",
    "Pneumonoultramicroscopicsilicovolcanoconiosis " * 3,
    "The delivery of order 48213 was late by 3 days, and nobody answered the phone. " * 3,
    "word " * 400,
    *(text for pair in PARAPHRASES for text in pair),
)
