"""The registry's steps as Redis scripts.

A request is a hash with these fields:

- `tenant`, `fingerprint`, `origin`, `registered_at`: who sent what, in which submission.
- `state`: pending, running, settling, settled. `reply`: from settling on.
- `replay`: how often a dead letter of it was replayed. `others`: how often it was sent again.
- `cancelled`: the reason of a cancellation.
- `anew`: 1 where the reply is no answer and cost nothing, so that a repeat may begin a new run (`runs`).
- `reply_to`: where its deltas and its reply go.
- `spent`: the run (as `replay` counts them) of the last provider call; the journal writes it.

The addresses that joined a running request are a set under a key of their own. The vectors of the reply are
stored in the same step as the reply (`entries.taken_out`).

While Redis is nearly full, no request is registered and nobody may join one. An event from before the latest
replay is a late delivery and changes nothing. If a run was not settled, those who joined it get the reply of
the replay.
"""

REGISTER = """
local key, waiters = KEYS[1], KEYS[2]
local tenant, print, origin, state, waiter, at, ttl, replay =
    ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local has_room, fits, max_waiters = ARGV[9] == '1', ARGV[10] == '1', tonumber(ARGV[11])
local found = redis.call('HMGET', key, 'fingerprint', 'origin', 'state', 'reply', 'tenant', 'replay',
                         'cancelled')
if not fits then return {found[3] and 'crowded' or 'too_long', false, false} end
if not found[3] and not has_room then return {'full', false, false} end
local mine = found[5] == tenant and (not found[1] or found[1] == print)
if found[3] and mine and replay > tonumber(found[6] or 0) then
  if found[3] == 'settled' then redis.call('DEL', waiters) end
  redis.call('DEL', key)
  found = {}
end
if not found[3] then
  redis.call('HSET', key, 'tenant', tenant, 'fingerprint', print, 'origin', origin, 'state', state,
             'registered_at', at, 'replay', replay, 'reply_to', waiter)
  redis.call('EXPIRE', key, ttl)
  redis.call('EXPIRE', waiters, ttl)
  return {'new', false, false}
end
if not mine then return {found[2] == origin and 'imposter' or 'conflict', false, false} end
redis.call('EXPIRE', key, ttl)
if found[2] == origin then
  if found[3] == 'settled' then return {'done', found[4], false} end
  if found[3] == 'pending' then redis.call('HSET', key, 'state', state) end
  return {'same', false, found[7]}
end
if found[3] == 'running' and redis.call('SISMEMBER', waiters, waiter) == 0 then
  if not has_room or redis.call('SCARD', waiters) >= max_waiters then return {'crowded', false, false} end
end
redis.call('HINCRBY', key, 'others', 1)
if found[3] == 'settling' or found[3] == 'settled' then return {'settled', found[4], false} end
if found[3] == 'pending' then
  if state == 'running' then
    redis.call('HSET', key, 'origin', origin, 'state', state, 'reply_to', waiter)
    return {'new', false, found[7]}
  end
  return {'pending', false, false}
end
redis.call('SADD', waiters, waiter)
redis.call('EXPIRE', waiters, ttl)
return {'joined', false, false}
"""

BEGIN_SETTLE = """
local key, waiters, kept = KEYS[1], KEYS[2], KEYS[3]
local reply, tenant, at, ttl, replay = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local knows_spend, vectors, vectors_ttl, anew = ARGV[6] == '1', ARGV[7], ARGV[8], ARGV[9]
local found = redis.call('HMGET', key, 'state', 'reply', 'replay', 'spent')
local spent = found[4] and tonumber(found[4]) == replay
local stored = tonumber(found[3] or 0)
if found[1] and replay < stored then return {'settled', false, {}} end
if found[1] and replay > stored then
  if found[1] == 'settled' then redis.call('DEL', waiters) end
  redis.call('HDEL', key, 'cancelled')
  found = {'running'}
end
if found[1] ~= 'settling' and found[1] ~= 'settled' then
  if spent and not knows_spend then return {'spent', false, {}} end
  if vectors ~= '' then redis.call('SET', kept, vectors, 'EX', vectors_ttl) end
  redis.call('HSET', key, 'state', 'settling', 'reply', reply, 'replay', replay, 'anew', anew)
  redis.call('HSETNX', key, 'tenant', tenant)
  redis.call('HSETNX', key, 'registered_at', at)
  found = {'settling', reply}
end
redis.call('EXPIRE', key, ttl)
return {found[1], found[2], redis.call('SMEMBERS', waiters)}
"""

FINISH_SETTLE = """
local ttl, replay = ARGV[1], tonumber(ARGV[2])
local found = redis.call('HMGET', KEYS[1], 'state', 'replay')
local stored = tonumber(found[2] or 0)
if found[1] and replay < stored then return 1 end
if (found[1] ~= 'settling' and found[1] ~= 'settled') or replay > stored then return 0 end
redis.call('HSET', KEYS[1], 'state', 'settled')
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('DEL', KEYS[2])
return 1
"""

ABANDON = """
if redis.call('HGET', KEYS[1], 'origin') == ARGV[1] and redis.call('HGET', KEYS[1], 'state') == 'pending' then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

CANCEL = """
local key, tenant, reason, only_alone = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('HMGET', key, 'state', 'tenant', 'others')
if not found[1] or found[2] ~= tenant then return 'unknown' end
if found[1] == 'settling' or found[1] == 'settled' then return 'settled' end
if only_alone == '1' and tonumber(found[3] or 0) > 0 then return 'shared' end
redis.call('HSETNX', key, 'cancelled', reason)
return 'cancelling'
"""

# A reply begins with its id, its status and its text, if any: the codec keeps that order.
SUMMARY = """
local answers = {}
for index, key in ipairs(KEYS) do
  local found = redis.call('HMGET', key, 'state', 'tenant', 'reply', 'anew')
  local answer = 'unknown'
  if found[1] and found[2] == ARGV[1] then
    answer = 'open'
    local status, rest = string.match(found[3] or '', '^{"request_id":"[^"]*","status":"(%a+)"()')
    if status then
      local text = string.sub(found[3], rest, rest + 9) == ',"content"'
      answer = status .. (text and '+' or '') .. (found[4] == '1' and '!' or '')
    end
  end
  answers[index] = answer
end
return answers
"""
