"""The route that Anthropic's official clients speak: Messages.

Begin with `messages`: the route and its answers; `schema` is its body, which `conversation` translates.
"""
