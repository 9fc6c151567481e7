"""The steps of the queue of webhooks as Redis scripts.

``due:TENANT:HOST`` is a sorted set: the ids of a tenant's webhooks to a host, by when they are due (Unix ms).
``hosts:TENANT`` is one, too: the tenant's hosts by when the first of theirs is due; and so is ``tenants``.
``bytes`` is a hash: what waits, by share (see `agents.webhooks.queue`), and in all under the empty name. The
key of a webhook is a hash: its record, whose it is, its host, how often it was tried.
"""

#: A claim looks at so many tenants that are due; where none may be served, the next one looks further.
TENANTS_AT_ONCE = 50

#: Puts host and tenant where their first webhook belongs, or takes them out where none is left.
_PLACE = """
local function put(above, below, name)
  local first = redis.call('ZRANGE', below, 0, 0, 'WITHSCORES')
  if first[1] then redis.call('ZADD', above, first[2], name) else redis.call('ZREM', above, name) end
end
local function place(tenants, hosts, due, tenant, host)
  put(hosts, due, host)
  put(tenants, hosts, tenant)
end
"""

ADD = (
    _PLACE
    + """
local entry, done, tenants, hosts, due, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, tenant, host, record, size, now, replay, most =
    ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local ended = redis.call('GET', done)
if ended and replay <= tonumber(ended) then return 'ended' end
if redis.call('EXISTS', entry) == 1 then return 'waiting' end
local shares = {'', tenant .. ':', host, tenant .. ':' .. host}
local waiting = {}
for i, share in ipairs(shares) do waiting[i] = tonumber(redis.call('HGET', bytes, share) or 0) + size end
local free = most - waiting[1] + size
if waiting[2] > free or waiting[3] > free or waiting[4] > most / 4 then return 'full' end
redis.call('HSET', entry, 'record', record, 'tenant', tenant, 'host', host, 'size', size, 'replay', replay,
    'attempt', 0)
for _, share in ipairs(shares) do redis.call('HINCRBY', bytes, share, size) end
redis.call('ZADD', due, now, id)
place(tenants, hosts, due, tenant, host)
return 'added'
"""
)

#: Takes the first webhook that is due and of no busy share, and lends it until its holder may be dead.
CLAIM = (
    _PLACE
    + f"""
local tenants, bytes, prefix_hosts, prefix_due, prefix_entry = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local now, lent_until, passed, busy, number = ARGV[4], ARGV[5], ARGV[6], {{}}, #ARGV - 6
for i = 7, #ARGV do busy[ARGV[i]] = true end
local due_tenants = redis.call('ZRANGE', tenants, '-inf', now, 'BYSCORE', 'LIMIT', passed, {TENANTS_AT_ONCE})
for _, tenant in ipairs(due_tenants) do
  local hosts = prefix_hosts .. tenant
  local due_hosts = busy[tenant .. ':'] and {{}}
      or redis.call('ZRANGE', hosts, '-inf', now, 'BYSCORE', 'LIMIT', 0, number + 1)
  for _, host in ipairs(due_hosts) do
    if not busy[host] and not busy[tenant .. ':' .. host] then
      local due = prefix_due .. tenant .. ':' .. host
      local id = redis.call('ZRANGE', due, 0, 0)[1]
      local record = redis.call('HGET', prefix_entry .. id, 'record')
      if not record then
        redis.call('ZREM', due, id)
        place(tenants, hosts, due, tenant, host)
        return {{'again'}}
      end
      redis.call('ZADD', due, lent_until, id)
      place(tenants, hosts, due, tenant, host)
      return {{'claimed', id, tenant, host, redis.call('HINCRBY', prefix_entry .. id, 'attempt', 1), record}}
    end
  end
end
if #due_tenants == {TENANTS_AT_ONCE} then return {{'further'}} end
return {{'none', redis.call('HGET', bytes, '') or 0}}
"""
)

#: Says when a webhook is due again; only for who holds it, for its holder may have been taken for dead.
POSTPONE = (
    _PLACE
    + """
local entry, tenants, hosts, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, tenant, host, attempt, at = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('HGET', entry, 'attempt') ~= attempt then return 0 end
redis.call('ZADD', due, at, id)
place(tenants, hosts, due, tenant, host)
return 1
"""
)

END = (
    _PLACE
    + """
local entry, done, tenants, hosts, due, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, tenant, host, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found = redis.call('HMGET', entry, 'size', 'replay')
if not found[1] then return 0 end
redis.call('DEL', entry)
redis.call('SET', done, found[2], 'EX', ttl)
redis.call('ZREM', due, id)
place(tenants, hosts, due, tenant, host)
for _, share in ipairs({'', tenant .. ':', host, tenant .. ':' .. host}) do
  if redis.call('HINCRBY', bytes, share, -found[1]) <= 0 then redis.call('HDEL', bytes, share) end
end
return 1
"""
)
