"""The route that Anthropic's official clients speak: Messages.

Begin with `messages`: the route; `schema` reads its body, `answers` writes its replies.
"""
