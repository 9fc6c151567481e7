"""Writes the tables of parameters in `docs/http.md` from `streams.request_rules.parameter_table`.

python scripts/parameter_docs.py            writes them
python scripts/parameter_docs.py --check    exit status 1 where the document says something else
"""

import sys
from pathlib import Path

from streams.request_rules.parameter_table import PARAMETERS, Effect, Parameter, ParameterRule

DOCUMENT = Path(__file__).parent.parent / "docs" / "http.md"
BEGIN = "<!-- parameters: written by scripts/parameter_docs.py -->\n"
END = "<!-- end of parameters -->\n"


def tables() -> str:
    """Return the tables as Markdown: OpenAI's spelling, then what only Anthropic's API has."""
    told = [row for row in PARAMETERS if not row.is_refused and not _is_plain(row)]
    head = "| `/v1/chat/completions` | `/v1/messages` | at OpenAI's models | at Anthropic's models |\n"
    rows = "".join(_row(row) for row in sorted(told, key=lambda row: not row.openai_path))
    refused = "| refused everywhere | route | |\n|---|---|---|\n"
    refused += "".join(
        f"| `{row.openai_path or row.anthropic_path}` | {_routes(row)} | {row.to_openai.note} |\n"
        for row in PARAMETERS
        if row.is_refused
    )
    return f"{head}|---|---|---|---|\n{rows}\n{refused}"


def written(document: str) -> str:
    """Return the document with the tables as they are now."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def _is_plain(row: Parameter) -> bool:
    """Whether there is nothing to say: a part of what is understood, which is understood as well."""
    nested = any(mark in row.openai_path + row.anthropic_path for mark in ".[<")
    effects = {row.to_openai.effect, row.to_anthropic.effect}
    noted = row.to_openai.note or row.to_anthropic.note
    return nested and not noted and effects <= {Effect.UNDERSTOOD, Effect.PASSED}


def _row(row: Parameter) -> str:
    openai, anthropic = (f"`{path}`" if path else "" for path in (row.openai_path, row.anthropic_path))
    return f"| {openai} | {anthropic} | {_words(row.to_openai)} | {_words(row.to_anthropic)} |\n"


def _words(rule: ParameterRule) -> str:
    if not rule.note:
        return rule.effect
    if rule.note.startswith(rule.effect):
        return rule.note
    return f"{rule.effect}: {rule.note}"


def _routes(row: Parameter) -> str:
    both = (
        "`/v1/chat/completions`" if row.openai_path else "",
        "`/v1/messages`" if row.anthropic_path else "",
    )
    return ", ".join(filter(None, both))


def main() -> int:
    """Write the document, or check it."""
    document = DOCUMENT.read_text(encoding="utf-8")
    wanted = written(document)
    if "--check" in sys.argv[1:]:
        if document != wanted:
            print("docs/http.md does not have the parameters as they are: run scripts/parameter_docs.py")
        return int(document != wanted)
    DOCUMENT.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
