-- What all queue scripts share; put in front of each of them.
--
-- KEYS, the same for every script of a queue, in the order of keys.rs.
--
-- An id is 32 hex digits and one flag digit: 1 ordered, 2 expects a reply,
-- 4 high priority, 8 low priority. Where a message stands is an entry: `<id>`
-- at first, `<id>.<generation>.<failures>` once it came back. The generation
-- goes up whenever a lease ends other than by an ack, so an entry names one
-- lease and nobody else's: that is the fence, and costs no lookup.
--
-- A record (a value of BODY) is: sent at (6 bytes, ms), expires at (6 bytes,
-- ms, 0: never), length (2) and ordering key, length (1) and reply channel,
-- and then the encoded Message with its id.
--
-- Messages that expire or are withdrawn while in a LIST leave their entry in
-- it, because looking for it would be O(n): BODY has nothing for it any more,
-- whoever pops it drops it, and `ghosts` of META counts them.
local META, BODY, READY, HIGH, LOW, HANDOFF, LEASED, DELAYED, AGAIN, ERRORS, EXPIRY, HEADS,
  WAITING, DEAD, DEADREC, DONE0, DONE1, DEDUP0, DEDUP1, STATS, CONSUMERS, BELL =
  unpack(KEYS, 1, 22)

local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local ID = 33
local DEAD_MAX = 10000
local DEAD_KEEP = 90 * 86400000
local DONE_WINDOW = 300000
local DONE_MAX = 100000
local MAX_ATTEMPTS, EXPIRED, REJECTED = 1, 2, 3

-- Set when something became ready, or due at a new time: rings the bell.
local ring = false
local function finish(result)
  if ring then call('PUBLISH', BELL, '1') end
  return result
end

-- Calls a command with many items, below the limit of `unpack`.
local function many(command, key, items)
  for i = 1, #items, 4000 do
    call(command, key, unpack(items, i, math.min(i + 3999, #items)))
  end
end

local function flags(id)
  return tonumber(string.sub(id, ID, ID), 16) or 0
end

local function is_ordered(id)
  return flags(id) % 2 == 1
end

local function expects_reply(id)
  return math.floor(flags(id) / 2) % 2 == 1
end

local function list_of(id)
  local class = math.floor(flags(id) / 4)
  if class == 1 then return HIGH elseif class == 2 then return LOW end
  return READY
end

local function parse(entry)
  local id = string.sub(entry, 1, ID)
  local generation, failures = string.match(entry, '^%.(%d+)%.(%d+)$', ID + 1)
  return id, tonumber(generation or 0), tonumber(failures or 0)
end

-- The entry that stands for a message at present.
local function current(id)
  local again = call('HGET', AGAIN, id)
  return again and (id .. '.' .. again) or id
end

-- sent at, expires at, ordering key, reply channel
local function head(record)
  return struct.unpack('>I6I6Hc0Bc0', record)
end

local function ghosts(n)
  if n ~= 0 then call('HINCRBY', META, 'ghosts', n) end
end

-- Makes an entry ready: in front of its class, or behind.
local function push(entry, in_front)
  call(in_front and 'RPUSH' or 'LPUSH', list_of(entry), entry)
  ring = true
end

local function delay_until(entry, due)
  call('ZADD', DELAYED, due, entry)
  ring = true
end

-- Puts a new entry where it belongs; `due` 0: at once.
local function place(id, entry, due, key)
  if is_ordered(id) and call('HSETNX', HEADS, key, id) == 0 then
    local number = call('HINCRBY', META, 'waiting_seq', 1)
    local member = key .. '\0' .. string.format('%016x', number) .. entry .. ' '
      .. string.format('%.0f', due)
    call('ZADD', WAITING, 0, member)
    return
  end
  if due > now then delay_until(entry, due) else push(entry, false) end
end

-- The entry and due time in a member of WAITING.
local function waiting_entry(member)
  local rest = string.sub(member, string.find(member, '\0', 1, true) + 17)
  local entry, due = string.match(rest, '^(%S+) (%d+)$')
  return entry, tonumber(due)
end

-- The head of an ordering key is done or dead: the next one may go.
local function release_key(key, id)
  if call('HGET', HEADS, key) ~= id then return end
  while true do
    local member = call('ZRANGEBYLEX', WAITING, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
    if not member then
      call('HDEL', HEADS, key)
      return
    end
    call('ZREM', WAITING, member)
    local entry, due = waiting_entry(member)
    local next_id = string.sub(entry, 1, ID)
    if call('HEXISTS', BODY, next_id) == 1 and current(next_id) == entry then
      call('HSET', HEADS, key, next_id)
      if due > now then delay_until(entry, due) else push(entry, false) end
      return
    end
    ghosts(-1)
  end
end

-- Forgets a message that is no longer in any list or set but EXPIRY.
local function forget(id, record)
  call('HDEL', BODY, id)
  call('HDEL', AGAIN, id)
  call('HDEL', ERRORS, id)
  call('ZREM', EXPIRY, id)
  if is_ordered(id) then
    local _, _, key = head(record)
    release_key(key, id)
  end
end

local function drop_dead(ids)
  if #ids == 0 then return end
  many('ZREM', DEAD, ids)
  many('HDEL', DEADREC, ids)
end

-- A dead letter's record is: dead at (6, ms), reason (1), failures (4),
-- generation (4), length (2) and last error, and then the message's record.
local function to_dead(id, generation, failures, record, reason, problem)
  local said = problem or call('HGET', ERRORS, id) or ''
  local number = call('HINCRBY', META, 'dead_seq', 1)
  call('HSET', DEADREC, id,
    struct.pack('>I6BI4I4H', now, reason, failures, generation, #said) .. said .. record)
  call('ZADD', DEAD, number, id)
  forget(id, record)
  local above = call('ZCARD', DEAD) - DEAD_MAX
  if above > 0 then drop_dead(call('ZRANGE', DEAD, 0, math.min(above, 100) - 1)) end
end

-- A lease ended without an ack (and was taken out of LEASED). `failed`:
-- whether that counts as an attempt; `delay` in ms; `reason`: make it a dead
-- letter at once; `problem`: what to remember.
local function give_back(entry, failed, delay, max_attempts, reason, problem)
  local id, generation, failures = parse(entry)
  local record = call('HGET', BODY, id)
  if not record then return end
  generation = generation + 1
  if failed then failures = failures + 1 end
  local _, expires = head(record)
  if reason then
    to_dead(id, generation, failures, record, reason, problem)
  elseif failed and failures >= max_attempts then
    to_dead(id, generation, failures, record, MAX_ATTEMPTS, problem)
  elseif expires > 0 and expires <= now then
    to_dead(id, generation, failures, record, EXPIRED, problem)
  else
    local again = string.format('%d.%d', generation, failures)
    call('HSET', AGAIN, id, again)
    if problem and problem ~= '' then call('HSET', ERRORS, id, problem) end
    if delay > 0 then
      delay_until(id .. '.' .. again, now + delay)
    else
      push(id .. '.' .. again, true)
    end
  end
end

-- Makes expired leases, due delays and expired messages what they are now: at
-- most `limit` of each. Answers whether there may be more.
local function sweep(limit)
  local lapsed = call('ZRANGE', LEASED, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  if #lapsed > 0 then
    many('ZREM', LEASED, lapsed)
    local max_attempts = tonumber(call('HGET', META, 'max_attempts') or 5)
    for _, entry in ipairs(lapsed) do
      give_back(entry, true, 0, max_attempts, nil, 'the lease expired')
    end
  end
  local due = call('ZRANGE', DELAYED, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  if #due > 0 then
    many('ZREM', DELAYED, due)
    -- One that failed before has waited for its turn already.
    for _, entry in ipairs(due) do push(entry, #entry > ID) end
  end
  local expired = call('ZRANGE', EXPIRY, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
  for _, id in ipairs(expired) do
    local entry = current(id)
    local record = call('HGET', BODY, id)
    local lease = record and call('ZSCORE', LEASED, entry)
    if not record then
      call('ZREM', EXPIRY, id)
    elseif lease then
      -- Being handled: looked at again when that should have ended.
      call('ZADD', EXPIRY, math.max(tonumber(lease), now + 1000), id)
    else
      if call('ZREM', DELAYED, entry) == 0 then ghosts(1) end
      local _, generation, failures = parse(entry)
      to_dead(id, generation, failures, record, EXPIRED, nil)
    end
  end
  return #lapsed == limit or #due == limit or #expired == limit
end

-- When there is something to sweep next, in ms from now; 0: nothing.
local function next_sweep()
  local soonest = nil
  for _, key in ipairs({ LEASED, DELAYED, EXPIRY }) do
    local score = tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if score and (not soonest or score < soonest) then soonest = score end
  end
  return soonest and math.max(1, math.ceil(soonest - now)) or 0
end

-- Two buckets that take turns: what is in them is kept for at least `window`
-- ms, at most twice that. Answers the current one and the other.
local function buckets(name, first, second, window)
  local state = call('HMGET', META, name .. '_turn', name .. '_since')
  local turn, since = tonumber(state[1] or 0), tonumber(state[2] or 0)
  if now - since >= window then
    local stale = now - since >= 2 * window
    turn, since = 1 - turn, now
    call('UNLINK', turn == 0 and first or second)
    if stale then call('UNLINK', turn == 0 and second or first) end
    call('HSET', META, name .. '_turn', turn, name .. '_since', now)
  end
  if turn == 0 then return first, second end
  return second, first
end

-- Remembers under which lease a message that was delivered more than once was
-- acked, so that acking it again under that one succeeds, under an earlier
-- one fails.
local function remember_done(id, generation)
  local bucket = buckets('done', DONE0, DONE1, DONE_WINDOW)
  if call('HLEN', bucket) < DONE_MAX then
    call('HSET', bucket, id, generation)
    call('PEXPIRE', bucket, 2 * DONE_WINDOW)
  end
end

-- Whether a receipt that holds no lease may be told that its ack succeeded.
local function was_done(entry)
  local id, generation = parse(entry)
  if call('HEXISTS', BODY, id) == 1 or call('HEXISTS', DEADREC, id) == 1 then return false end
  local under = call('HGET', DONE0, id) or call('HGET', DONE1, id)
  if under then return tonumber(under) == generation end
  return generation == 0
end

-- Counts what was sent (`s`) or acked (`a`), by 5 s.
local function count(kind, n)
  if n == 0 then return end
  local slot = math.floor(now / 5000)
  if call('HINCRBY', STATS, kind .. slot, n) == n then
    for _, field in ipairs(call('HKEYS', STATS)) do
      if tonumber(string.sub(field, 2)) < slot - 13 then call('HDEL', STATS, field) end
    end
    call('PEXPIRE', STATS, 120000)
  end
end
