-- title: One request's calls
-- group: request
-- description: Every attempt at a provider for a request, in the order of time. Times count from its acceptance.
-- parameter: since DateTime64(6, 'UTC') = 90d | accepted at this time or later; naming the day makes it faster
-- parameter: request_id String | the request
-- column: tenant [name] | whose it is
-- column: call_id [id] | the call, as the provider's bill may name it
-- column: attempt [count] | which attempt it was
-- column: provider [name] | who was asked
-- column: model [name] | the model that was asked
-- column: response_model [name] | the model that answered, as the provider names it
-- column: started_ms [ms] | when it began
-- column: duration_ms [ms] | how long it took
-- column: first_token_ms [ms] | from its beginning to the first token; null where none came
-- column: input_tokens [tokens] | sent, cached ones included
-- column: cached_tokens [tokens] | of them that the provider had cached
-- column: output_tokens [tokens] | written, reasoning included
-- column: reasoning_tokens [tokens] | of them that the model thought with
-- column: cache_write_tokens [tokens] | of the sent ones that the provider put into its cache
-- column: cache_write_1h_tokens [tokens] | of them for an hour
-- column: usage_estimated [flag] | tokens that the provider did not report, or that could not be true, are our count
-- column: service_tier [name] | that the provider says it was served at
-- column: long_context [flag] | it was priced as a long prompt
-- column: cost_usd [USD] | what it cost
-- column: finish_reason [name] | why the model stopped
-- column: error [name] | the type of the fault; null where there was an answer
-- column: shadow [flag] | nobody saw the answer, and nobody is charged for it
-- column: orphaned [flag] | the answer was lost with its worker; tokens and cost are estimates
SELECT
    c.tenant AS tenant,
    c.call_id AS call_id,
    c.attempt AS attempt,
    c.provider AS provider,
    c.request_model AS model,
    c.response_model AS response_model,
    (toUnixTimestamp64Micro(c.started_at) - toUnixTimestamp64Micro(c.accepted_at)) / 1000 AS started_ms,
    c.duration_us / 1000 AS duration_ms,
    c.time_to_first_token_us / 1000 AS first_token_ms,
    c.input_tokens AS input_tokens,
    c.cached_tokens AS cached_tokens,
    c.output_tokens AS output_tokens,
    c.reasoning_tokens AS reasoning_tokens,
    c.cache_write_tokens AS cache_write_tokens,
    c.cache_write_1h_tokens AS cache_write_1h_tokens,
    c.usage_estimated AS usage_estimated,
    c.service_tier AS service_tier,
    c.long_context AS long_context,
    c.cost_usd AS cost_usd,
    c.finish_reason AS finish_reason,
    c.error AS error,
    c.shadow AS shadow,
    c.orphaned AS orphaned
FROM llm_calls AS c
WHERE c.request_id = {request_id:String}
    AND $window(c)
ORDER BY tenant, started_ms, call_id
