"""The limiter's steps as Redis scripts. Times are microseconds of Redis's own clock.

A subject (a key, a user, a tenant, an address) has three keys:

- `times`: when something was taken, as a sorted set whose members are their own scores.
- `counts`: a hash with `r<time>` and `t<time>`, the requests and tokens taken at each of these times, and
  `requests` and `tokens`, their sums.
- `permits`: the requests under way, as a sorted set by when each permit ends by itself.

What was taken counts for a minute to the microsecond where a subject may take a thousand requests or fewer.
Above that (and where only tokens are limited), times are rounded up to a tenth of a second: a subject never
has more than about a thousand times, what was taken counts up to 0.1 s longer, and never shorter.
"""

#: The window, in seconds.
WINDOW_S = 60

_CLOCK = f"""
local WINDOW, STEP, FINE = {WINDOW_S * 1_000_000}, 100000, 1000
local KEPT_MS = (WINDOW + STEP) / 1000
local function text(number) return string.format('%.0f', number) end
local function at_least(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, text(ms)) end
end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
"""

_SUBJECT = """
local function forget_expired(times, counts)
  local gone = redis.call('ZRANGE', times, '-inf', text(now - WINDOW), 'BYSCORE')
  if #gone == 0 then return end
  local requests, tokens = 0, 0
  for _, at in ipairs(gone) do
    local taken = redis.call('HMGET', counts, 'r' .. at, 't' .. at)
    requests, tokens = requests + (taken[1] or 0), tokens + (taken[2] or 0)
    redis.call('HDEL', counts, 'r' .. at, 't' .. at)
  end
  redis.call('ZREMRANGEBYSCORE', times, '-inf', text(now - WINDOW))
  redis.call('HINCRBY', counts, 'requests', text(0 - requests))
  redis.call('HINCRBY', counts, 'tokens', text(0 - tokens))
end
local function used(times, counts, permits)
  local sums = redis.call('HMGET', counts, 'requests', 'tokens')
  local newest = redis.call('ZRANGE', times, -1, -1)[1]
  local held = redis.call('ZCOUNT', permits, '(' .. text(now), '+inf')
  return tonumber(sums[1] or 0), tonumber(sums[2] or 0), held, newest and newest + WINDOW - now or 0
end
"""

# KEYS: charged, the request's entry, then `times`, `counts`, `permits` of each subject.
# ARGV: now ('': Redis's), attempt, request, how long a permit lasts (0: none), then for each subject: the
# limits of requests, tokens and permits (0: none), and the requests and tokens to take.
# Returns the verdict, subject, kind and wait of a refusal, then for each subject: requests, tokens and
# permits in use, when it is whole again, and the time that was taken at.
TAKE = f"""{_CLOCK}{_SUBJECT}
local attempt, request, permit_us = ARGV[2], ARGV[3], tonumber(ARGV[4])
local subjects, verdict = {{}}, 'taken'
local charged = redis.call('GET', KEYS[1])
local before, by = string.match(charged or '', '^(%d+):(.*)$')
if before and by == attempt then now = tonumber(before)
elseif before or redis.call('EXISTS', KEYS[2]) == 1 then verdict = 'known' end

local function wait_for(times, counts, kind, short)
  for from = 0, 2000, 50 do
    local some = redis.call('ZRANGE', times, from, from + 49)
    if #some == 0 then break end
    local fields = {{}}
    for place, at in ipairs(some) do fields[place] = kind .. at end
    for place, taken in ipairs(redis.call('HMGET', counts, unpack(fields))) do
      short = short - (taken or 0)
      if short <= 0 then return some[place] + WINDOW - now end
    end
  end
  return WINDOW
end
local refused, kind, wait = 0, '', 0
local function refuse(index, what, longest)
  if wait == -1 or (refused > 0 and longest ~= -1 and longest <= wait) then return end
  refused, kind, wait = index, what, longest
end
local function check(index, what, subject, limit, take, taken)
  if limit == 0 or taken + take <= limit then return end
  if take > limit then return refuse(index, what, -1) end
  refuse(index, what, wait_for(subject.times, subject.counts, string.sub(what, 1, 1), taken + take - limit))
end

for index = 1, (#KEYS - 2) / 3 do
  local key, arg = 3 * index, 5 * index
  local s = {{times = KEYS[key], counts = KEYS[key + 1], permits = KEYS[key + 2]}}
  s.most, s.tokens, s.permits_most, s.take, s.take_tokens =
    tonumber(ARGV[arg]), tonumber(ARGV[arg + 1]), tonumber(ARGV[arg + 2]),
    tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4])
  forget_expired(s.times, s.counts)
  local requests, tokens, held, whole_in = used(s.times, s.counts, s.permits)
  s.found = {{requests, tokens, held, whole_in}}
  s.at = (s.most > 0 and s.most <= FINE) and now or math.ceil(now / STEP) * STEP
  if verdict == 'taken' and not before then
    check(index, 'requests', s, s.most, s.take, requests)
    check(index, 'tokens', s, s.tokens, s.take_tokens, tokens)
    if permit_us > 0 and s.permits_most > 0 and held >= s.permits_most then
      refuse(index, 'concurrent', 1000000)
    end
  end
  subjects[index] = s
end
if refused > 0 then verdict = 'refused' end
local answer = {{verdict, refused, kind, text(wait)}}
for _, s in ipairs(subjects) do
  if verdict == 'taken' and not before then
    local at = text(s.at)
    redis.call('ZADD', s.times, at, at)
    redis.call('HINCRBY', s.counts, 'r' .. at, s.take)
    redis.call('HINCRBY', s.counts, 'requests', s.take)
    if s.take_tokens > 0 then
      redis.call('HINCRBY', s.counts, 't' .. at, s.take_tokens)
      redis.call('HINCRBY', s.counts, 'tokens', s.take_tokens)
    end
    redis.call('PEXPIRE', s.times, text(KEPT_MS))
    redis.call('PEXPIRE', s.counts, text(KEPT_MS))
    local held = s.found[3]
    if permit_us > 0 and s.permits_most > 0 then
      redis.call('ZREMRANGEBYSCORE', s.permits, '-inf', text(now))
      redis.call('ZADD', s.permits, text(now + permit_us), request)
      at_least(s.permits, permit_us / 1000)
      held = held + 1
    end
    s.found = {{s.found[1] + s.take, s.found[2] + s.take_tokens, held, s.at + WINDOW - now}}
  end
  for _, number in ipairs(s.found) do table.insert(answer, text(number)) end
  table.insert(answer, text(s.at))
end
if verdict == 'taken' and not before then
  redis.call('SET', KEYS[1], text(now) .. ':' .. attempt, 'PX', text(KEPT_MS))
end
return answer
"""

# KEYS: `counts`, `permits` of each subject. ARGV: request, the tokens used less those taken, then for each
# subject the time that it was taken at.
FINISH = """
local request, change = ARGV[1], tonumber(ARGV[2])
for index = 1, #KEYS / 2 do
  local counts, permits, at = KEYS[2 * index - 1], KEYS[2 * index], ARGV[index + 2]
  redis.call('ZREM', permits, request)
  if change ~= 0 and redis.call('HEXISTS', counts, 't' .. at) == 1 then
    redis.call('HINCRBY', counts, 't' .. at, ARGV[2])
    redis.call('HINCRBY', counts, 'tokens', ARGV[2])
  end
end
"""

# KEYS: `times`, `counts`, `permits` of each subject. ARGV: now ('': Redis's). Returns, for each subject, the
# requests, tokens and permits in use, and when it is whole again. Counts what has expired no more.
LOOK = f"""{_CLOCK}{_SUBJECT}
local answer = {{}}
for index = 1, #KEYS, 3 do
  forget_expired(KEYS[index], KEYS[index + 1])
  for _, number in ipairs({{used(KEYS[index], KEYS[index + 1], KEYS[index + 2])}}) do
    table.insert(answer, text(number))
  end
end
return answer
"""
