"""The journal's steps as Redis scripts.

The first key is a hash:
`record`, `instance`, `attempt`, `deadline` (Unix ms): the holder. `calls`: the number of the last call.
`begun:N`, `ended:N`: the calls. `result`: the outcome, until it is sent. `sent`: that it was.
The second key, where there is one, is the request's entry in the registry: `cancelled`, `replay`.
"""

CLAIM = """
local key = KEYS[1]
local record, instance, now, deadline, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local found = redis.call('HMGET', key, 'record', 'attempt', 'deadline', 'result', 'sent')
if found[5] then return {'sent'} end
if found[4] then
  redis.call('HSET', key, 'record', record, 'instance', instance)
  redis.call('EXPIRE', key, ttl)
  return {'finished', tonumber(found[2]), found[4]}
end
if found[1] and found[1] ~= record and now < tonumber(found[3]) then return {'held', found[1]} end
local attempt = redis.call('HINCRBY', key, 'attempt', 1)
redis.call('HSET', key, 'record', record, 'instance', instance, 'deadline', deadline)
redis.call('EXPIRE', key, ttl)
local answer = redis.call('HGETALL', key)
table.insert(answer, 1, attempt)
table.insert(answer, 1, 'claimed')
return answer
"""

# An entry that is missing was lost with Redis's data: it counts as the caller's, and is written again.
_FENCE = """
local key, record, attempt = KEYS[1], ARGV[1], ARGV[2]
local holder = redis.call('HMGET', key, 'record', 'attempt')
local fenced = holder[1] and (holder[1] ~= record or holder[2] ~= attempt)
"""

# Whoever cancelled the request before its latest replay did not mean this run of it.
_CANCELLED = """
local standing = redis.call('HMGET', KEYS[2], 'cancelled', 'replay')
local cancelled = standing[1]
if tonumber(ARGV[3]) > tonumber(standing[2] or 0) then cancelled = false end
"""

BEGIN = (
    _FENCE
    + _CANCELLED
    + """
if fenced then return {0} end
if cancelled then return {-1, cancelled} end
local call, after, deadline, ttl = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
redis.call('HSET', key, 'record', record, 'attempt', attempt, 'deadline', deadline)
local number = math.max(tonumber(redis.call('HGET', key, 'calls') or 0), after) + 1
redis.call('HSET', key, 'calls', number, 'begun:' .. number, call)
redis.call('EXPIRE', key, ttl)
return {number}
"""
)

END = (
    _FENCE
    + """
if fenced or not holder[1] then return 0 end
redis.call('HSET', key, 'ended:' .. ARGV[3], ARGV[4])
return 1
"""
)

LOOK = _FENCE + _CANCELLED + "return {fenced and 1 or 0, cancelled}"

# What a worker that has run into a bug may book: nothing once another record holds the request.
CALLS = """
local fields = redis.call('HGETALL', KEYS[1])
if redis.call('HGET', KEYS[1], 'record') ~= ARGV[1] then return {} end
return fields
"""

FINISH = (
    _FENCE
    + """
if fenced then return 0 end
redis.call('HSET', key, 'record', record, 'attempt', attempt, 'result', ARGV[3])
redis.call('EXPIRE', key, ARGV[4])
return 1
"""
)

SENT = (
    _FENCE
    + """
if fenced then return 0 end
redis.call('DEL', key)
redis.call('HSET', key, 'record', record, 'attempt', attempt, 'sent', 1)
redis.call('EXPIRE', key, ARGV[3])
return 1
"""
)
