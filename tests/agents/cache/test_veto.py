"""Similar queries that do not have the same answer, and paraphrases that do."""

import pytest

from agents.cache.veto import veto

TRAPS = [
    ("numbers", "Who won the election in 2020?", "Who won the election in 2024?"),
    ("numbers", "How do I cook 2 eggs?", "How do I cook two eggs?"),
    ("numbers", "What is 3 minus 5?", "What is 5 minus 3?"),
    ("numbers", "What changed in version 1.2.3?", "What changed in version 1.2.4?"),
    ("numbers", "Trains at 10:30?", "Trains at 10:45?"),
    ("numbers", "Who came first?", "Who came second?"),
    ("numbers", "Are you open on monday?", "Are you open on sunday?"),
    ("numbers", "What did I spend last month?", "What will I spend next month?"),
    ("symbols", "What does a < b return?", "What does a > b return?"),
    ("symbols", "Is C++ hard to learn?", "Is C# hard to learn?"),
    ("symbols", "What does if x == y do?", "What does if x != y do?"),
    ("symbols", "How much is $5 in pesos?", "How much is €5 in pesos?"),
    ("layout", "if x:\n  print(1)\n  print(2)", "if x:\n  print(1)\nprint(2)"),
    ("negation", "Can I take it with alcohol?", "Can I not take it with alcohol?"),
    ("negation", "Which plans include calls?", "Which plans don't include calls?"),
    ("negation", "Which plans include calls?", "Which plans don’t include calls?"),
    ("negation", "I must eat nuts, what can I cook?", "I mustn't eat nuts, what can I cook?"),
    ("negation", "Recipes with sugar", "Recipes without sugar"),
    ("negation", "Everyone except my boss?", "Everyone and my boss?"),
    ("opposites", "What to do before surgery?", "What to do after surgery?"),
    ("opposites", "How to increase the volume?", "How to decrease the volume?"),
    ("opposites", "Which is the best phone?", "Which is the worst phone?"),
    ("opposites", "Is it legal to park here?", "Is it illegal to park here?"),
    ("opposites", "How do I lock my card?", "How do I unlock my card?"),
    ("opposites", "Is the link secure?", "Is the link insecure?"),
    ("names", "What is the capital of France?", "What is the capital of Germany?"),
    ("names", "Who is the CEO of Apple?", "Who is the CEO of Google?"),
    ("names", "Is the weather good in Paris?", "Is the weather good in Paris and Rome?"),
    ("order", "How do I fly from Paris to London?", "How do I fly from London to Paris?"),
    ("order", "convert usd to eur", "convert eur to usd"),
    ("order", "Did the dog bite the man?", "Did the man bite the dog?"),
]

PARAPHRASES = [
    ("What is the capital of France?", "What's the capital of France?"),
    ("What is the capital of France?", "what is the capital of france"),
    ("How do I reset my password?", "How can I reset my password?"),
    ("How do I reset my password?", "I forgot my password, how can I reset it?"),
    ("What are your opening hours?", "What are the opening hours?"),
    ("How long does shipping take?", "How long will shipping take?"),
    ("Explain quantum computing in simple terms", "Explain quantum computing simply"),
    ("Where can I park near the town hall?", "Near the town hall, where can I park?"),
    ("Who is Obama's wife?", "Who is the wife of Obama?"),
    ("Why can't I log in?", "Why can I not log in?"),
    ("Why can't I log in?", "Why cannot I log in?"),
    ("I think that I'm lost. What should I do?", "What should I do if I think I'm lost?"),
    ("WHAT IS THE CAPITAL OF FRANCE?", "What is the capital of France?"),
    ("Line one\nline two", "Line one\n\nline two"),
    ("", ""),
]


@pytest.mark.parametrize(("reason", "asked", "cached"), TRAPS)
def test_traps_are_vetoed(reason: str, asked: str, cached: str) -> None:
    """In either direction, for a reason that the log can show."""
    found = veto(asked, cached)
    assert found == reason
    assert veto(cached, asked) == found


@pytest.mark.parametrize(("asked", "cached"), PARAPHRASES)
def test_paraphrases_pass(asked: str, cached: str) -> None:
    """The veto must leave something to the cache."""
    assert veto(asked, cached) is None
    assert veto(cached, asked) is None


@pytest.mark.parametrize(("reason", "asked", "cached"), TRAPS)
def test_equal_queries_are_never_vetoed(reason: str, asked: str, cached: str) -> None:
    """Whatever they hold."""
    assert veto(asked, asked) is None
    assert veto(cached, cached) is None
