"""Send many questions as one batch, watch it, and read the answers.

    python examples/batch.py "What is a headrace?" "What is a tailrace?" "What is a sluice?"

Run it again: the same questions are the same batch, which costs nothing more.
"""

import hashlib
import json
import sys
import time
from pathlib import Path

import httpx

QUESTIONS = ["What is a headrace?", "What is a tailrace?", "What is a sluice?"]
TIMEOUT_S = 60
TRIES = 5


def main(questions: list[str]) -> None:
    endpoints = json.loads(Path(".headrace/endpoints.json").read_text(encoding="utf-8"))
    headers = {"Authorization": f"Bearer {endpoints['api_key']}"}
    with httpx.Client(base_url=endpoints["ingest"], headers=headers, timeout=TIMEOUT_S) as http:
        batch = send(http, "".join(json.dumps(line(*each)) + "\n" for each in enumerate(questions)))
        while batch["status"] == "in_progress":
            print(batch["status"], batch["request_counts"])
            time.sleep(1)
            batch = http.get(batch["url"]).raise_for_status().json()
        with http.stream("GET", batch["results_url"]) as results:
            results.raise_for_status()
            for result in results.iter_lines():
                show(json.loads(result))


def line(number: int, question: str) -> dict[str, object]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}
    return {
        "custom_id": f"question-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }


def send(http: httpx.Client, lines: str) -> dict[str, object]:
    # The key makes it safe to send again, whatever became of the first time.
    key = f"batch-example-{hashlib.sha256(lines.encode()).hexdigest()[:32]}"
    headers = {"Content-Type": "application/jsonl", "Idempotency-Key": key}
    for _ in range(TRIES):
        try:
            response = http.post("/v1/batches", content=lines.encode(), headers=headers)
        except httpx.TransportError as fault:
            print("the connection broke, so again:", fault)
            time.sleep(1)
            continue
        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            if response.is_error:
                sys.exit(response.json()["error"]["message"])
            return response.json()
        time.sleep(float(response.headers["Retry-After"]))
    sys.exit("Headrace does not take the batch: is it running?")


def show(result: dict[str, dict]) -> None:
    error, body = result["error"], result["response"]["body"]
    answer = error["message"] if error else body["choices"][0]["message"]["content"]
    print(f"{result['custom_id']}: {answer}")


if __name__ == "__main__":
    main(sys.argv[1:] or QUESTIONS)
