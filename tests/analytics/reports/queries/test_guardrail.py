"""What the guardrails stopped, and what they found."""

import pytest

from tests.analytics.reports.queries.conftest import Ask
from tests.analytics.reports.queries.known import TENANTS, cost, groups, logs_of

pytestmark = [pytest.mark.integration, pytest.mark.parametrize("tenant", TENANTS)]


async def test_blocks_by_rule(ask: Ask, tenant: str) -> None:
    """Before and after the model, against all requests of the tenant."""
    of_tenant = groups(logs_of(tenant), lambda log: log.tenant)
    stopped = [
        (log.tenant, side, rule, log)
        for log in logs_of(tenant)
        for side, passed, rule in (
            ("input", log.guardrail_input_pass, log.guardrail_input_rule),
            ("output", log.guardrail_output_pass, log.guardrail_output_rule),
        )
        if not passed
    ]
    expected = []
    for (owner, side, rule), items in groups(stopped, lambda item: item[:3]).items():
        logs = [item[3] for item in items]
        expected.append(
            {
                "tenant": owner,
                "side": side,
                "rule": rule,
                "blocked": len(logs),
                "users": len({log.user_id for log in logs}),
                "requests": len(of_tenant[owner]),
                "block_share": pytest.approx(len(logs) / len(of_tenant[owner])),
                "cost_usd": cost(logs),
            }
        )
    expected.sort(key=lambda row: (-row["blocked"], row["tenant"], row["side"], row["rule"]))
    assert await ask("guardrail_blocks", tenant=tenant) == expected
    assert {row["side"] for row in expected} == {"input", "output"}


async def test_answers_that_did_not_pass(ask: Ask, tenant: str) -> None:
    """Of answers that a model gave for this request, with what was noted about them."""
    given = [log for log in logs_of(tenant) if log.model not in ("", "degraded") and not log.cache_hit]
    expected = []
    for model, logs in groups(given, lambda log: log.model).items():
        rejected = sum(not log.guardrail_output_pass for log in logs)
        expected.append(
            {
                "model": model,
                "answers": len(logs),
                "rejected": rejected,
                "reject_share": pytest.approx(rejected / len(logs)),
                "refusals": sum("refusal" in log.output_flags for log in logs),
                "truncated": sum("truncated" in log.output_flags for log in logs),
                "empty": sum("empty" in log.output_flags for log in logs),
            }
        )
    expected.sort(key=lambda row: (-row["rejected"], -row["answers"], row["model"]))
    assert await ask("output_rejects", tenant=tenant) == expected


async def test_personal_data(ask: Ask, tenant: str) -> None:
    """A request with two types counts under both."""
    found = [(log.tenant, kind, log) for log in logs_of(tenant) for kind in log.pii_types]
    expected = [
        {
            "tenant": owner,
            "pii_type": kind,
            "requests": len(items),
            "users": len({item[2].user_id for item in items}),
        }
        for (owner, kind), items in groups(found, lambda item: item[:2]).items()
    ]
    expected.sort(key=lambda row: (-row["requests"], row["tenant"], row["pii_type"]))
    assert await ask("personal_data", tenant=tenant) == expected
