-- title: One request
-- group: request
-- description: Everything that is known of a request but its stages and calls. Two tenants may use the same id: both
--     are returned where no tenant is named.
-- parameter: since DateTime64(6, 'UTC') = 90d | accepted at this time or later; naming the day makes it faster
-- parameter: request_id String | the request
-- column: request_id [id] | the request
-- column: tenant [name] | whose it is
-- column: user_id [id] | who sent it
-- column: session_id [id] | the session, if one was named
-- column: tier [name] | of its sender
-- column: accepted_at [time] | when it was accepted
-- column: finished_at [time] | when it was settled
-- column: latency_ms [ms] | between the two
-- column: status [name] | how it ended
-- column: error_code [name] | why it was not answered; empty where it was
-- column: error [text] | the same in words; null where it was
-- column: model [name] | the model that answered
-- column: provider [name] | of the model
-- column: finish_reason [name] | why the model stopped
-- column: fallback [flag] | another model answered than the first that was tried, or none
-- column: stream [flag] | it was streamed
-- column: prompt_template [name] | the template
-- column: prompt_version [name] | its version
-- column: experiment [name] | that chose the version, if one did
-- column: arm [name] | of the experiment
-- column: cache_kind [name] | how the cache was consulted
-- column: cache_similarity [cosine] | of the nearest question; null where none was compared
-- column: guardrail_input_rule [name] | that stopped it before the model
-- column: guardrail_output_rule [name] | that stopped its answer
-- column: pii_types [text] | personal data that was redacted
-- column: output_flags [text] | what the output check noted
-- column: tools_used [text] | tools that the model called
-- column: input_tokens [tokens] | of all attempts
-- column: output_tokens [tokens] | of all attempts
-- column: cached_tokens [tokens] | of all attempts
-- column: reasoning_tokens [tokens] | of all attempts
-- column: cache_write_tokens [tokens] | of all attempts
-- column: cache_write_1h_tokens [tokens] | of all attempts
-- column: usage_estimated [flag] | some of the tokens are our own count
-- column: service_tier [name] | of the last attempt
-- column: long_context [flag] | an attempt was priced as a long prompt
-- column: cost_usd [USD] | of all attempts
-- column: price_version [name] | the price table
SELECT
    request_id,
    tenant,
    user_id,
    session_id,
    tier,
    accepted_at,
    finished_at,
    latency_ms,
    status,
    error_code,
    error,
    model,
    provider,
    finish_reason,
    fallback,
    stream,
    prompt_template,
    prompt_version,
    experiment,
    arm,
    cache_kind,
    cache_similarity,
    guardrail_input_rule,
    guardrail_output_rule,
    pii_types,
    output_flags,
    tools_used,
    input_tokens,
    output_tokens,
    cached_tokens,
    reasoning_tokens,
    cache_write_tokens,
    cache_write_1h_tokens,
    usage_estimated,
    service_tier,
    long_context,
    cost_usd,
    price_version
FROM requests AS r
WHERE r.request_id = {request_id:String}
    AND $window(r)
ORDER BY accepted_at, tenant
