"""The journal's steps as Redis scripts.

The first key is the request's entry in the journal, a hash:

- `record`, `instance`, `attempt`, `deadline` (Unix ms): the holder.
- `calls`: the number of the last call. `begun:N`, `ended:N`: the calls.
- `result`: the outcome, until it is sent. `sent`: whether it was.
- `run`: the run of the request, which is its number of replays. A later run starts again; an earlier run is
  ignored.

The second key, if there is one, is the request's entry in the registry. The scripts read `cancelled`,
`replay` and `state`, and write `spent`. With `spent`, the registry does not settle a request by an outcome
without calls after a call was begun. With `state`, no call is begun for a settled request. Each script is
atomic, so no other step can come in between.
"""

CLAIM = """
local key = KEYS[1]
local record, instance, now, deadline, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local replay = tonumber(ARGV[6])
local found = redis.call('HMGET', key, 'record', 'attempt', 'deadline', 'result', 'sent', 'run')
local run = tonumber(found[6] or 0)
if replay < run or (found[5] and replay == run) then return {'sent'} end
local held = found[1] and not found[4] and not found[5]
if held and found[1] ~= record and now < tonumber(found[3]) then return {'held', found[1]} end
if replay > run then redis.call('HSET', key, 'run', replay) end
if found[5] then
  redis.call('HDEL', key, 'sent')
end
if found[4] then
  redis.call('HSET', key, 'record', record, 'instance', instance)
  redis.call('EXPIRE', key, ttl)
  return {'finished', tonumber(found[2]), found[4]}
end
local attempt = redis.call('HINCRBY', key, 'attempt', 1)
redis.call('HSET', key, 'record', record, 'instance', instance, 'deadline', deadline)
redis.call('EXPIRE', key, ttl)
local answer = redis.call('HGETALL', key)
table.insert(answer, 1, attempt)
table.insert(answer, 1, 'claimed')
return answer
"""

# An entry that is missing was lost with Redis's data: it counts as the caller's, and is written again.
_STANDING = """
local function standing(key, record, attempt)
  local holder = redis.call('HMGET', key, 'record', 'attempt')
  return holder, holder[1] and (holder[1] ~= record or holder[2] ~= attempt)
end
"""

# Whoever cancelled the request before its latest replay did not mean this run of it.
_CANCELLING = """
local function cancelling(key, replay)
  local found = redis.call('HMGET', key, 'cancelled', 'replay')
  return tonumber(replay) <= tonumber(found[2] or 0) and found[1]
end
"""

_FENCE = (
    _STANDING
    + """
local key, record, attempt = KEYS[1], ARGV[1], ARGV[2]
local holder, fenced = standing(key, record, attempt)
"""
)

BEGIN = (
    _FENCE
    + _CANCELLING
    + """
if fenced then return {0} end
local cancelled = cancelling(KEYS[2], ARGV[3])
if cancelled then return {-1, cancelled} end
local request = redis.call('HMGET', KEYS[2], 'state', 'replay')
local is_settled = request[1] == 'settling' or request[1] == 'settled'
if is_settled and tonumber(ARGV[3]) <= tonumber(request[2] or 0) then return {0} end
if request[1] then redis.call('HSET', KEYS[2], 'spent', ARGV[3]) end
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

# Two keys and three arguments for each claim.
LOOK = (
    _STANDING
    + _CANCELLING
    + """
local looks = {}
for i = 1, #KEYS / 2 do
  local _, fenced = standing(KEYS[2 * i - 1], ARGV[3 * i - 2], ARGV[3 * i - 1])
  looks[i] = {fenced and 1 or 0, cancelling(KEYS[2 * i], ARGV[3 * i])}
end
return looks
"""
)

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
local run = redis.call('HGET', key, 'run')
redis.call('DEL', key)
redis.call('HSET', key, 'record', record, 'attempt', attempt, 'sent', 1)
if run then redis.call('HSET', key, 'run', run) end
redis.call('EXPIRE', key, ARGV[3])
return 1
"""
)
