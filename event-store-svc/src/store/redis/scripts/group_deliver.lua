-- Delivers events to consumers: first what is due again, then new ones; takes back leases that ran out.
--
-- KEYS, ARGV 1 to 3: see group_common.lua
-- ARGV  4 events to take back at most  5 bytes at most (one event is always delivered)
--       6 caller  7 number of this call, counted by its caller
--       8 number of the caller's last call whose answer came, if one after it stayed unanswered, else ""
--       9… consumers: name, how many events at most
-- Returns nil when the topic is missing, 0 when the group is, else
--   {now, epoch, when to come again at the latest ("" never), more ("1": come again at once),
--    when the leases end, how many were parked, deliveries of the first consumer, of the second …}
--   deliveries: {lease number, failures before of those delivered before, which come first; then entries}:
--   the entries behind them have lease 1 and no failures

local caller, call, answered = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local before = redis.call('HGET', CALLS, caller)
local last_call = before and tonumber(string.match(before, '^%d+'))
-- Overtaken by a later call of its caller, which waits for this one no more.
if last_call and last_call > call then return {now, epoch, '', '', 0, 0} end
local returned = false
-- The answer of the last call was lost: what it delivered was seen by nobody and goes back unused.
if answered and last_call and last_call > answered then
  local of_epoch, leases = string.match(before, '^%d+ %d+ (%d+)(.*)$')
  if of_epoch == epoch then
    for position, lease in string.gmatch(leases, ' (%S+) (%d+)') do
      local held, failures = tries_of(redis.call('HGET', TRIES, position))
      if held == tonumber(lease) and redis.call('ZREM', LEASES, position) == 1 then
        redis.call('HSET', TRIES, position, lease .. ' ' .. number(failures))
        queue(position, now)
        returned = true
      end
    end
  end
end

local expired = redis.call('ZRANGEBYSCORE', LEASES, '-inf', now, 'LIMIT', 0, ARGV[4])
if #expired > 0 then
  local records = redis.call('HMGET', TRIES, unpack(expired))
  redis.call('ZREM', LEASES, unpack(expired))
  for i, position in ipairs(expired) do
    local lease, failures = tries_of(records[i])
    fail(position, lease, failures, nil, 'the lease expired')
  end
end

local function read_new(consumer, count)
  local found = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', LOG, '>')
  if is_lost(found) then
    recreate()
    found = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', LOG, '>')
  end
  return found and found[1] and found[1][2] or {}
end

-- Holds back a new event whose subject has another one under way.
local function held_back(entry)
  local fields = entry[2]
  if fields[3] ~= 's' then return false end
  local subject = fields[4]
  if redis.call('HSETNX', BUSY, subject, entry[1]) == 1 then
    redis.call('HSET', SUBJECTS, entry[1], subject)
    return false
  end
  redis.call('ZADD', WAITING, 0, subject .. '\0' .. padded(entry[1]))
  return true
end

local room, scanned, more = tonumber(ARGV[5]), 0, ''
local largest = math.max(tonumber(redis.call('HGET', KEYS[2], 'largest') or 1), 1)
local deadline = number(now + ack_timeout)
local reply = {now, epoch, '', '', deadline, parked}
local checkpoint
local record = {number(call), number(now), epoch}
for c = 9, #ARGV, 2 do
  local consumer, wanted = ARGV[c], tonumber(ARGV[c + 1])
  local again, deliveries, leased, tries = {}, {false}, {}, {}
  local count = 0

  local function deliver(entry, lease)
    local position, fields = entry[1], entry[2]
    count = count + 1
    deliveries[count + 1] = entry
    leased[count * 2 - 1] = deadline
    leased[count * 2] = position
    record[#record + 1] = position
    record[#record + 1] = lease
    room = room - #fields[#fields]
  end

  -- Again and again, because an event that retention removed lets the next of its subject go.
  while count < wanted and room > 0 and scanned < 1000 do
    local due = redis.call('ZRANGEBYSCORE', RETRY, '-inf', now, 'LIMIT', 0, wanted - count)
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
        claim(consumer, position, failures + 1)
        tries[#tries + 1] = position
        tries[#tries + 1] = number(lease) .. ' ' .. number(failures)
        again[#again + 1] = lease
        again[#again + 1] = failures
        deliver(entry, number(lease))
      else
        -- Retention removed it: done by a lease that nobody has.
        finish(position, lease + 1)
      end
    end
  end

  while count < wanted and room > 0 and scanned < 1000 do
    local asked = math.min(wanted - count, math.max(math.floor(room / largest), 1), 1000 - scanned)
    local entries = read_new(consumer, asked)
    if entries.err then return entries end
    scanned = scanned + #entries
    for _, entry in ipairs(entries) do
      checkpoint = entry[1]
      if not (ordered and held_back(entry)) then deliver(entry, '1') end
    end
    if #entries < asked then break end
  end
  if count >= wanted or room <= 0 or scanned >= 1000 then more = '1' end

  if #leased > 0 then redis.call('ZADD', LEASES, unpack(leased)) end
  if #tries > 0 then redis.call('HSET', TRIES, unpack(tries)) end
  deliveries[1] = again
  reply[#reply + 1] = deliveries
end
if answered or #record > 3 then
  redis.call('HSET', CALLS, caller, table.concat(record, ' '))
  redis.call('PEXPIRE', CALLS, number(ack_timeout))
  if redis.call('HLEN', CALLS) > 64 then
    -- Callers that are gone; the leases of their last calls have run out.
    local some = redis.call('HRANDFIELD', CALLS, 2, 'WITHVALUES')
    for i = 1, #some, 2 do
      local at = tonumber(string.match(some[i + 1], '^%d+ (%d+)'))
      if at < now - ack_timeout then redis.call('HDEL', CALLS, some[i]) end
    end
  end
end
if checkpoint then
  redis.call('HSET', META, 'checkpoint', checkpoint, 'checkpoint_sequence', string.match(checkpoint, '%d+$'))
end
-- What this call did not take is for others.
woken = returned and redis.call('ZCOUNT', RETRY, '-inf', now) > 0
conclude()

local next_due
for _, key in ipairs({RETRY, LEASES}) do
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  if first[2] and (not next_due or tonumber(first[2]) < next_due) then next_due = tonumber(first[2]) end
end
reply[3], reply[4] = next_due and number(next_due) or '', more
return reply
