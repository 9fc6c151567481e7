"""The limiter's steps as Redis scripts. Times are microseconds of Redis's own clock.

A subject (a key, a user, a tenant, an address) has three keys:

- `times`: when something was taken, as a sorted set whose members are their own scores.
- `counts`: a hash with `r<time>` and `t<time>`, the requests and tokens taken at each of these times;
  `requests` and `tokens`, their sums; `newest`, the last of the times.
- `permits`: the requests under way, as a sorted set by when each permit ends by itself.

What was taken counts for a minute to the microsecond where a subject may take a thousand requests or fewer.
Above that (and where only tokens are limited), times are rounded up to a tenth of a second: a subject never
has more than about a thousand times, what was taken counts up to 0.1 s longer, and never shorter.
"""

#: The window, in seconds.
WINDOW_S = 60

_SUBJECT = f"""
local WINDOW, STEP, FINE = {WINDOW_S * 1_000_000}, 100000, 1000
local KEPT_MS = (WINDOW + STEP) / 1000
local function text(number) return string.format('%d', number) end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local expired = text(now - WINDOW)
local function forget_expired(times, counts)
  while true do
    local gone = redis.call('ZRANGE', times, '-inf', expired, 'BYSCORE', 'LIMIT', 0, 500)
    if #gone == 0 then return end
    local fields, requests, tokens = {{}}, 0, 0
    for place, at in ipairs(gone) do
      fields[2 * place - 1], fields[2 * place] = 'r' .. at, 't' .. at
    end
    for place, taken in ipairs(redis.call('HMGET', counts, unpack(fields))) do
      if place % 2 == 1 then requests = requests + (taken or 0) else tokens = tokens + (taken or 0) end
    end
    redis.call('HDEL', counts, unpack(fields))
    redis.call('HINCRBY', counts, 'requests', text(0 - requests))
    redis.call('HINCRBY', counts, 'tokens', text(0 - tokens))
    redis.call('ZREMRANGEBYRANK', times, 0, #gone - 1)
  end
end
"""

# KEYS: charged, the request's entry, then `times`, `counts`, `permits` of each subject.
# ARGV: now ('': Redis's), attempt, request, how long a permit lasts (0: none), then for each subject: the
# limits of requests, tokens and permits (0: none), and the requests and tokens to take.
# Returns the verdict, subject, kind and wait of a refusal, then for each subject: requests, tokens and
# permits in use, when it is whole again, and the time that was taken at.
TAKE = f"""{_SUBJECT}
local attempt, request, permit_us = ARGV[2], ARGV[3], tonumber(ARGV[4])
local verdict = 'taken'
local before, by = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+):(.*)$')
if before and by == attempt then now = tonumber(before)
elseif before or redis.call('EXISTS', KEYS[2]) == 1 then verdict = 'known' end
local anew = verdict == 'taken' and not before

local refused, kind, wait = 0, '', 0
local function refuse(index, what, longest)
  if wait == -1 or (refused > 0 and longest ~= -1 and longest <= wait) then return end
  refused, kind, wait = index, what, longest
end
local function wait_for(s, what, short)
  for from = 0, 2000, 50 do
    local some, fields = redis.call('ZRANGE', s.times, from, from + 49), {{}}
    if #some == 0 then break end
    for place, at in ipairs(some) do fields[place] = string.sub(what, 1, 1) .. at end
    for place, taken in ipairs(redis.call('HMGET', s.counts, unpack(fields))) do
      short = short - (taken or 0)
      if short <= 0 then return some[place] + WINDOW - now end
    end
  end
  return WINDOW
end
local function check(index, what, s, limit, take, taken)
  if limit == 0 or taken + take <= limit then return end
  refuse(index, what, take > limit and -1 or wait_for(s, what, taken + take - limit))
end

local subjects, exactly, rounded = {{}}, text(now), text(math.ceil(now / STEP) * STEP)
for index = 1, (#KEYS - 2) / 3 do
  local key, arg = 3 * index, 5 * index
  local most, most_tokens = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  local most_permits = tonumber(ARGV[arg + 2])
  local s = {{times = KEYS[key], counts = KEYS[key + 1], permits = KEYS[key + 2], held = 0,
             take = tonumber(ARGV[arg + 3]), take_tokens = tonumber(ARGV[arg + 4])}}
  forget_expired(s.times, s.counts)
  s.at = (most > 0 and most <= FINE) and exactly or rounded
  local found = redis.call('HMGET', s.counts, 'requests', 'tokens', 'newest', 'r' .. s.at, 't' .. s.at)
  s.requests, s.tokens, s.newest = tonumber(found[1] or 0), tonumber(found[2] or 0), found[3]
  s.here, s.tokens_here = found[4] or 0, found[5] or 0
  if most_permits > 0 then
    redis.call('ZREMRANGEBYSCORE', s.permits, '-inf', exactly)
    s.held, s.holds = redis.call('ZCARD', s.permits), permit_us > 0
  end
  if anew then
    check(index, 'requests', s, most, s.take, s.requests)
    check(index, 'tokens', s, most_tokens, s.take_tokens, s.tokens)
    if s.holds and s.held >= most_permits then refuse(index, 'concurrent', 1000000) end
  end
  subjects[index] = s
end
if refused > 0 then verdict, anew = 'refused', false end

local answer = {{verdict, refused, kind, wait}}
for _, s in ipairs(subjects) do
  if anew then
    s.requests, s.tokens = s.requests + s.take, s.tokens + s.take_tokens
    redis.call('HSET', s.counts, 'requests', text(s.requests), 'tokens', text(s.tokens), 'newest', s.at,
               'r' .. s.at, text(s.here + s.take))
    if s.take_tokens > 0 then
      redis.call('HSET', s.counts, 't' .. s.at, text(s.tokens_here + s.take_tokens))
    end
    if s.newest ~= s.at then
      redis.call('ZADD', s.times, s.at, s.at)
      redis.call('PEXPIRE', s.times, text(KEPT_MS))
      redis.call('PEXPIRE', s.counts, text(KEPT_MS))
      s.newest = s.at
    end
    if s.holds then
      redis.call('ZADD', s.permits, text(now + permit_us), request)
      redis.call('PEXPIRE', s.permits, text(math.ceil(permit_us / 1000)), s.held > 0 and 'GT' or 'NX')
      s.held = s.held + 1
    end
  end
  local found = {{s.requests, s.tokens, s.held, s.newest and s.newest + WINDOW - now or 0, tonumber(s.at)}}
  for _, number in ipairs(found) do answer[#answer + 1] = number end
end
if anew then redis.call('SET', KEYS[1], exactly .. ':' .. attempt, 'PX', text(KEPT_MS)) end
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
# requests, tokens and permits in use, and when it is whole again. What has expired is forgotten.
LOOK = f"""{_SUBJECT}
local answer = {{}}
for index = 1, #KEYS, 3 do
  local counts = KEYS[index + 1]
  forget_expired(KEYS[index], counts)
  local found = redis.call('HMGET', counts, 'requests', 'tokens', 'newest')
  local held = redis.call('ZCOUNT', KEYS[index + 2], '(' .. text(now), '+inf')
  local whole_in = found[3] and found[3] + WINDOW - now or 0
  for _, number in ipairs({{tonumber(found[1] or 0), tonumber(found[2] or 0), held, whole_in}}) do
    answer[#answer + 1] = number
  end
end
return answer
"""
