"""Ask over HTTP with OpenAI's own client, in one piece and streamed.

python examples/openai_client.py "What is a headrace?"
"""

import json
import sys
from pathlib import Path

from openai import OpenAI


def main(question: str) -> None:
    endpoints = json.loads(Path(".headrace/endpoints.json").read_text(encoding="utf-8"))
    client = OpenAI(base_url=f"{endpoints['ingest']}/v1", api_key=endpoints["api_key"])

    answer = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": question}],
        # The same key again gives the same answer, and no second charge.
        extra_headers={"Idempotency-Key": f"openai-example:{question}"},
    )
    print(answer.choices[0].message.content)
    print(answer.usage)

    stream = client.chat.completions.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": f"In other words: {question}"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n{chunk.usage}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "What is a headrace?")
