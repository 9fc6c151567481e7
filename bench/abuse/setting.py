"""What a system needs to know so that it can be attacked: the witness, any reply topic, a local receiver."""

import json

from bench.abuse.witness import KEY, TENANT

#: Settings by the names of their variables. A breaker that opens for seconds would carry on beyond a fault.
ENVIRON = {
    "HEADRACE_API_KEYS": json.dumps({KEY: {"tenant": TENANT}}),
    "HEADRACE_REPLY_TOPICS": '["*"]',
    "HEADRACE_WEBHOOK_ALLOW_HTTP": "true",
    "HEADRACE_WEBHOOK_ALLOW_NETWORKS": '["127.0.0.0/8"]',
    "HEADRACE_BREAKER_THRESHOLD": "1000",
}
