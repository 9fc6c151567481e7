"""Ask over HTTP with Anthropic's own client, in one piece and streamed.

python examples/anthropic_client.py "What is a headrace?"
"""

import json
import sys
from pathlib import Path

from anthropic import Anthropic


def main(question: str) -> None:
    endpoints = json.loads(Path(".headrace/endpoints.json").read_text(encoding="utf-8"))
    client = Anthropic(base_url=endpoints["ingest"], api_key=endpoints["api_key"])

    answer = client.messages.create(
        model="claude-3-5-sonnet",
        max_tokens=400,
        system="Answer in one sentence.",
        messages=[{"role": "user", "content": question}],
        # The same key again gives the same answer, and no second charge.
        extra_headers={"Idempotency-Key": f"anthropic-example:{question}"},
    )
    for block in answer.content:
        if block.type == "text":
            print(block.text)
    print(answer.usage)

    with client.messages.stream(
        model="claude-3-5-sonnet",
        max_tokens=400,
        messages=[{"role": "user", "content": f"In other words: {question}"}],
    ) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
    print(f"\n{stream.get_final_message().usage}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "What is a headrace?")
