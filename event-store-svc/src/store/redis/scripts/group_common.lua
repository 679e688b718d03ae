-- What the scripts of consumer groups share; put in front of each of them.
--
-- KEYS  1 log  2 meta  3 g:meta  4 g:leases  5 g:retry  6 g:tries  7 g:busy  8 g:waiting  9 g:subjects
--       10 g:parked  11 g:parked_info  12 g:done  13 g:done_at  14 g:acked  15 g:calls
-- ARGV  1 group  2 bell of the topic  3 a random number from 0 to 1 (scripts have none of their own)
--
-- leases   position → when its lease ends (ms)      retry     position → when it is delivered again (ms)
-- tries    position → "<lease number> <failures>", for events that were delivered before
-- busy     subject → the position that is under way  waiting  "<subject>\0<padded position>", all scores 0
-- subjects position → subject of what is busy        (the last three only for groups ordered by subject)
-- done     position → lease number that finished it, when it was not the first (0 parked it); done_at the
--          same by time
-- calls    caller → its last call that delivered: "<number> <when> <epoch>", then position and lease number
--          of each delivery

local LOG, META, LEASES, RETRY, TRIES = KEYS[1], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local BUSY, WAITING, SUBJECTS = KEYS[7], KEYS[8], KEYS[9]
local PARKED, PARKED_INFO, DONE, DONE_AT = KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local ACKED, CALLS = KEYS[14], KEYS[15]
local GROUP, BELL, RANDOM = ARGV[1], ARGV[2], tonumber(ARGV[3])

if redis.call('EXISTS', KEYS[2]) == 0 then return nil end
local settings = redis.call('HMGET', META, 'epoch', 'ack_timeout_ms', 'max_deliveries', 'initial_ms', 'max_ms',
  'multiplier', 'ordered', 'checkpoint')
if not settings[1] then return 0 end
local epoch, ack_timeout, max_deliveries = settings[1], tonumber(settings[2]), tonumber(settings[3])
local ordered = settings[7] == '1'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local finished = {}
local woken = false
local parked = 0

local function number(value) return string.format('%.0f', value) end

local function padded(position)
  local ms, n = string.match(position, '^(%d+)-(%d+)$')
  return string.format('%016.0f-%016.0f', tonumber(ms), tonumber(n))
end

local function unpadded(text)
  local ms, n = string.match(text, '^(%d+)-(%d+)$')
  return number(tonumber(ms)) .. '-' .. number(tonumber(n))
end

local function tries_of(record)
  if not record then return 1, 0 end
  local lease, failures = string.match(record, '^(%d+) (%d+)$')
  return tonumber(lease), tonumber(failures)
end

local function backoff(failures)
  local wait = tonumber(settings[4]) * tonumber(settings[6]) ^ (failures - 1)
  wait = math.min(wait, tonumber(settings[5]))
  return math.floor(wait * (0.8 + 0.2 * RANDOM))
end

-- Redis lost the group: made anew where it stood; what was pending is so again.
local function recreate()
  redis.call('XGROUP', 'CREATE', LOG, GROUP, settings[8], 'MKSTREAM')
  local pending = {redis.call('ZRANGE', LEASES, 0, -1), redis.call('ZRANGE', RETRY, 0, -1), {}}
  for i, held in ipairs(redis.call('ZRANGE', WAITING, 0, -1)) do
    pending[3][i] = unpadded(string.match(held, '%z([^%z]*)$'))
  end
  for _, positions in ipairs(pending) do
    for _, position in ipairs(positions) do
      redis.call('XCLAIM', LOG, GROUP, 'lost', 0, position, 'FORCE', 'JUSTID')
    end
  end
end

local function is_lost(reply) return type(reply) == 'table' and reply.err and string.sub(reply.err, 1, 7) == 'NOGROUP' end

-- Has a consumer hold an event.
local function claim(consumer, position, count)
  local function try() return redis.pcall('XCLAIM', LOG, GROUP, consumer, 0, position, 'RETRYCOUNT', count, 'FORCE', 'JUSTID') end
  if is_lost(try()) then
    recreate()
    try()
  end
end

-- Puts an event up for delivery; the next of its subject waits behind it.
local function queue(position, due)
  redis.call('ZADD', RETRY, number(due), position)
  woken = true
end

-- Lets the next event of a finished event's subject go.
local function release(position)
  local subject = redis.call('HGET', SUBJECTS, position)
  if not subject then return end
  redis.call('HDEL', SUBJECTS, position)
  local next_one = redis.call('ZRANGEBYLEX', WAITING, '[' .. subject .. '\0', '(' .. subject .. '\1', 'LIMIT', 0, 1)[1]
  if not next_one then
    redis.call('HDEL', BUSY, subject)
    return
  end
  redis.call('ZREM', WAITING, next_one)
  local following = unpadded(string.sub(next_one, #subject + 2))
  redis.call('HSET', BUSY, subject, following)
  redis.call('HSET', SUBJECTS, following, subject)
  redis.call('HSETNX', TRIES, following, '0 0')
  queue(following, now)
end

-- The event is done with; XACK follows in conclude.
local function finish(position, lease)
  finished[#finished + 1] = position
  if lease > 1 then
    redis.call('HSET', DONE, position, lease)
    redis.call('ZADD', DONE_AT, now, position)
  end
  if ordered then release(position) end
end

local function park(position, lease, failures, reason)
  redis.call('ZADD', PARKED, now, position)
  redis.call('HSET', PARKED_INFO, position, number(lease) .. ' ' .. number(failures) .. ' ' .. number(now) .. ' ' .. reason)
  finish(position, 2)
  parked = parked + 1
  -- No lease finished it: acking it is refused.
  redis.call('HSET', DONE, position, 0)
end

-- A delivery failed: again later, or parked.
local function fail(position, lease, failures, due, reason)
  failures = failures + 1
  if failures >= max_deliveries then
    park(position, lease, failures, reason)
    return
  end
  redis.call('HSET', TRIES, position, number(lease) .. ' ' .. number(failures))
  queue(position, due or now + backoff(failures))
end

-- Must end every script that finishes or queues something.
local function conclude()
  if #finished > 0 then
    redis.call('XACK', LOG, GROUP, unpack(finished))
    redis.call('HDEL', TRIES, unpack(finished))
  end
  local old = redis.call('ZRANGEBYSCORE', DONE_AT, '-inf', now - 3600000, 'LIMIT', 0, 200)
  if #old > 0 then
    redis.call('ZREM', DONE_AT, unpack(old))
    redis.call('HDEL', DONE, unpack(old))
  end
  local surplus = math.min(redis.call('ZCARD', PARKED) - 10000, 200)
  local dropped = surplus > 0 and redis.call('ZRANGE', PARKED, 0, surplus - 1)
    or redis.call('ZRANGEBYSCORE', PARKED, '-inf', now - 7776000000, 'LIMIT', 0, 200)
  if #dropped > 0 then
    redis.call('ZREM', PARKED, unpack(dropped))
    redis.call('HDEL', PARKED_INFO, unpack(dropped))
  end
  if woken then redis.call('PUBLISH', BELL, '') end
end

