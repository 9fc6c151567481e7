"""The steps of the queue of webhooks as Redis scripts.

``due:HOST`` is a sorted set: the ids of the webhooks to a host, by when they are due (Unix ms). ``hosts`` is
one, too: the hosts by when the first of theirs is due. ``bytes`` is a hash: what waits, by host, and in all
under the empty name. The key of a webhook is a hash: its record, its host, how often it was tried.
"""

#: Puts a host where its first webhook belongs, or takes it out where none is left.
_PLACE = """
local function place(hosts, due, host)
  local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', hosts, first[2], host) else redis.call('ZREM', hosts, host) end
end
"""

ADD = (
    _PLACE
    + """
local entry, done, hosts, due, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, host, record, size, now, replay, most =
    ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local ended = redis.call('GET', done)
if ended and replay <= tonumber(ended) then return 'ended' end
if redis.call('EXISTS', entry) == 1 then return 'waiting' end
local waiting = redis.call('HMGET', bytes, '', host)
local total, to_host = tonumber(waiting[1] or 0) + size, tonumber(waiting[2] or 0) + size
if total > most or to_host > most / 4 then return 'full' end
redis.call('HSET', entry, 'record', record, 'host', host, 'size', size, 'replay', replay, 'attempt', 0)
redis.call('HINCRBY', bytes, '', size)
redis.call('HINCRBY', bytes, host, size)
redis.call('ZADD', due, now, id)
place(hosts, due, host)
return 'added'
"""
)

#: Takes the first webhook that is due to a host that is not busy, and lends it until its holder may be dead.
CLAIM = (
    _PLACE
    + """
local hosts, prefix_due, prefix_entry = KEYS[1], ARGV[1], ARGV[2]
local now, lent_until, busy, number = ARGV[3], ARGV[4], {}, #ARGV - 4
for i = 5, #ARGV do busy[ARGV[i]] = true end
for _, host in ipairs(redis.call('ZRANGE', hosts, '-inf', now, 'BYSCORE', 'LIMIT', 0, number + 1)) do
  if not busy[host] then
    local due = prefix_due .. host
    local id = redis.call('ZRANGE', due, 0, 0)[1]
    local record = redis.call('HGET', prefix_entry .. id, 'record')
    if not record then
      redis.call('ZREM', due, id)
      place(hosts, due, host)
      return {'again'}
    end
    redis.call('ZADD', due, lent_until, id)
    place(hosts, due, host)
    return {'claimed', id, host, redis.call('HINCRBY', prefix_entry .. id, 'attempt', 1), record}
  end
end
return {'none', redis.call('HGET', KEYS[2], '') or 0}
"""
)

#: Says when a webhook is due again; only for who holds it, for its holder may have been taken for dead.
POSTPONE = (
    _PLACE
    + """
local entry, hosts, due = KEYS[1], KEYS[2], KEYS[3]
local id, host, attempt, at = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', entry, 'attempt') ~= attempt then return 0 end
redis.call('ZADD', due, at, id)
place(hosts, due, host)
return 1
"""
)

END = (
    _PLACE
    + """
local entry, done, hosts, due, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, host, ttl = ARGV[1], ARGV[2], ARGV[3]
local found = redis.call('HMGET', entry, 'size', 'replay')
if not found[1] then return 0 end
redis.call('DEL', entry)
redis.call('SET', done, found[2], 'EX', ttl)
redis.call('ZREM', due, id)
place(hosts, due, host)
redis.call('HINCRBY', bytes, '', -found[1])
if redis.call('HINCRBY', bytes, host, -found[1]) <= 0 then redis.call('HDEL', bytes, host) end
return 1
"""
)
