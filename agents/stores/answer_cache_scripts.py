"""The cache's steps as Redis scripts.

Each operation is one script, and therefore one round trip: most of the time of a round trip is the client's.
"""

# What is found without an answer has expired: it leaves the vector set.
SIMILAR = """
local vectors, vector, most, prefix = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local found, answers = redis.call('VSIM', vectors, 'FP32', vector, 'WITHSCORES', 'COUNT', most), {}
for place = 1, #found, 2 do
  local answer = redis.call('GET', prefix .. found[place])
  if answer then
    answers[#answers + 1] = found[place + 1]
    answers[#answers + 1] = answer
  else
    redis.call('VREM', vectors, found[place])
  end
end
return answers
"""

# Takes entries out of an index and counts what is left. The index is one key: what it names leaves after it.
_TAKEN_OUT = """
local function taken_out(index, tenants, leaving)
  if #leaving > 0 then redis.call('ZREM', index, unpack(leaving)) end
  local left = redis.call('ZCARD', index)
  if left > 0 then redis.call('ZADD', tenants, left, index) else redis.call('ZREM', tenants, index) end
  return leaving
end
"""

# Returns the entries that leave for the new one: what expired, and of the rest what expires first. In the
# same step, or two writers at once would each take out what the other has already made room for.
PUT = (
    _TAKEN_OUT
    + """
local answer, index, vectors, tenants = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local data, member, name, vector = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now, ends, ttl, most, at_once = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
redis.call('SET', answer, data, 'EX', ttl)
redis.call('ZADD', index, ends, member)
if vector ~= '' then
  redis.call('VADD', vectors, 'FP32', vector, name)
  redis.call('EXPIRE', vectors, ttl)
end
local leaving = redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, at_once)
local surplus = math.min(redis.call('ZCARD', index) - #leaving - most, at_once)
if surplus > 0 then
  for _, each in ipairs(redis.call('ZRANGE', index, #leaving, #leaving + surplus - 1)) do
    leaving[#leaving + 1] = each
  end
end
taken_out(index, tenants, leaving)
redis.call('EXPIRE', index, ttl)
redis.call('EXPIRE', tenants, ttl)
return leaving
"""
)

# Returns the entries that leave to make room: of the tenant that has most, those that expire first.
SHRINK = (
    _TAKEN_OUT
    + """
local tenants, at_once = KEYS[1], tonumber(ARGV[1])
local index = redis.call('ZRANGE', tenants, -1, -1)[1]
if not index then return {} end
return taken_out(index, tenants, redis.call('ZRANGE', index, 0, at_once - 1))
"""
)
