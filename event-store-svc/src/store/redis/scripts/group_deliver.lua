-- Delivers events to consumers: first what is due again, then new ones; takes back leases that ran out.
--
-- KEYS, ARGV 1 to 3: see group_common.lua
-- ARGV  4 events to take back at most  5 bytes at most (one event is always delivered)
--       6… consumers: name, how many events at most
-- Returns nil when the topic is missing, 0 when the group is, else
--   {now, epoch, when to come again at the latest ("" never), more ("1": come again at once),
--    deliveries of the first consumer, of the second …}
--   a delivery: {entry, lease number, failures before, lease end}

local expired = redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, ARGV[4])
if #expired > 0 then
  local records = redis.call('HMGET', TRIES, unpack(expired))
  redis.call('ZREM', LEASES, unpack(expired))
  for i, position in ipairs(expired) do
    local lease, failures = tries_of(records[i])
    fail(position, lease, failures, nil, 'the lease expired')
  end
end

-- Redis lost the group: made anew where it stood; what was pending is so again.
local function recreate()
  redis.call('XGROUP', 'CREATE', LOG, GROUP, settings[8], 'MKSTREAM')
  local function claim(positions)
    for i = 1, #positions do
      redis.call('XCLAIM', LOG, GROUP, 'lost', 0, positions[i], 'FORCE', 'JUSTID')
    end
  end
  claim(redis.call('ZRANGE', LEASES, 0, -1))
  claim(redis.call('ZRANGE', RETRY, 0, -1))
  local held = redis.call('ZRANGE', WAITING, 0, -1)
  for i = 1, #held do held[i] = unpadded(string.match(held[i], '%z([^%z]*)$')) end
  claim(held)
end

local function read_new(consumer, count)
  local found = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', LOG, '>')
  if type(found) == 'table' and found.err then
    if string.sub(found.err, 1, 7) ~= 'NOGROUP' then return found end
    recreate()
    found = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', LOG, '>')
  end
  return found and found[1] and found[1][2] or {}
end

-- Holds back a new event whose subject has another one under way.
local function held_back(entry)
  local fields = entry[2]
  if fields[5] ~= 's' then return false end
  local subject = fields[6]
  if redis.call('HSETNX', BUSY, subject, entry[1]) == 1 then
    redis.call('HSET', SUBJECTS, entry[1], subject)
    return false
  end
  redis.call('ZADD', WAITING, 0, subject .. '\0' .. padded(entry[1]))
  return true
end

local room, scanned, more = tonumber(ARGV[5]), 0, ''
local largest = math.max(tonumber(redis.call('HGET', KEYS[2], 'largest') or 1), 1)
local deadline = now + ack_timeout
local reply = {now, epoch, '', ''}
local checkpoint, sequence
for c = 6, #ARGV, 2 do
  local consumer, wanted = ARGV[c], tonumber(ARGV[c + 1])
  local deliveries, leased, tries = {}, {}, {}

  local function deliver(entry, lease, failures)
    deliveries[#deliveries + 1] = {entry, lease, failures, deadline}
    leased[#leased + 1] = deadline
    leased[#leased + 1] = entry[1]
    room = room - #entry[2][#entry[2]]
  end

  -- Again and again, because an event that retention removed lets the next of its subject go.
  while #deliveries < wanted and room > 0 and scanned < 1000 do
    local due = redis.call('ZRANGEBYSCORE', RETRY, '-inf', now, 'LIMIT', 0, wanted - #deliveries)
    if #due == 0 then break end
    scanned = scanned + #due
    local records = redis.call('HMGET', TRIES, unpack(due))
    for i, position in ipairs(due) do
      if room <= 0 then break end
      local lease, failures = tries_of(records[i])
      local entry = redis.call('XRANGE', LOG, position, position)[1]
      redis.call('ZREM', RETRY, position)
      if entry then
        lease = lease + 1
        redis.call('XCLAIM', LOG, GROUP, consumer, 0, position, 'RETRYCOUNT', failures + 1, 'FORCE', 'JUSTID')
        tries[#tries + 1] = position
        tries[#tries + 1] = number(lease) .. ' ' .. number(failures)
        deliver(entry, lease, failures)
      else
        finish(position, 2)
      end
    end
  end

  while #deliveries < wanted and room > 0 and scanned < 1000 do
    local count = math.min(wanted - #deliveries, math.max(math.floor(room / largest), 1), 1000 - scanned)
    local entries = read_new(consumer, count)
    if entries.err then return entries end
    scanned = scanned + #entries
    for _, entry in ipairs(entries) do
      checkpoint, sequence = entry[1], entry[2][2]
      if not (ordered and held_back(entry)) then deliver(entry, 1, 0) end
    end
    if #entries < count then break end
  end
  if #deliveries >= wanted or room <= 0 or scanned >= 1000 then more = '1' end

  if #leased > 0 then redis.call('ZADD', LEASES, unpack(leased)) end
  if #tries > 0 then redis.call('HSET', TRIES, unpack(tries)) end
  reply[#reply + 1] = deliveries
end
if checkpoint then redis.call('HSET', META, 'checkpoint', checkpoint, 'checkpoint_sequence', sequence) end
woken = false
conclude()

local next_due
for _, key in ipairs({RETRY, LEASES}) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] and (not next_due or tonumber(first[2]) < next_due) then next_due = tonumber(first[2]) end
end
reply[3], reply[4] = next_due and number(next_due) or '', more
return reply
