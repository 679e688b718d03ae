-- What all queue scripts share; put in front of each of them, and behind it the
-- parts that it needs (scripts.rs).
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
  WAITING, SINCE, DEAD, DEADREC, DONE0, DONE1, DEDUP0, DEDUP1, STATS, CONSUMERS, TAKES, BELL =
  unpack(KEYS, 1, 24)
-- How many these are; what a script needs besides follows.
local QUEUE_KEYS = 24

local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local ID = 33
local DEAD_MAX = 10000
local DEAD_KEEP = 90 * 86400000
local DONE_WINDOW = 300000
local DONE_MAX = 100000
local MAX_ATTEMPTS, EXPIRED, REJECTED = 1, 2, 3

-- Set when something became ready, or due at a new time: rings the bell. Of the
-- two, `pushed` only says that a list got longer: it rings for nothing once all
-- of that was leased in the same call.
local ring, pushed = false, false
-- The replica that leaves what there is to others: it comes for it a little later.
local yields = nil
local function finish(result)
  if ring or pushed then call('PUBLISH', BELL, yields and '-' .. yields or '1') end
  return result
end

-- How many messages became dead letters in this call.
local died = 0

-- Calls a command with many items, below the limit of `unpack`.
local function many(command, key, items)
  for i = 1, #items, 4000 do
    call(command, key, unpack(items, i, math.min(i + 3999, #items)))
  end
end

local function flags(id)
  return tonumber(string.sub(id, ID, ID), 16) or 0
end

-- Whether it is neither ordered nor of another priority than normal.
local function is_plain(id)
  local flag = string.byte(id, ID)
  return flag == 48 or flag == 50
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

-- A score in LEASED: the deadline in thousandths of a ms. Which of them a lease
-- ends at says in which take it began.
local function lease_score(deadline)
  return deadline * 1000
end

-- The deadline of a score, in ms.
local function lease_deadline(score)
  return math.floor(tonumber(score) / 1000)
end

local function ghosts(n)
  if n ~= 0 then call('HINCRBY', META, 'ghosts', n) end
end

-- Makes an entry ready: in front of its class, or behind.
local function push(entry, in_front)
  call(in_front and 'RPUSH' or 'LPUSH', list_of(entry), entry)
  pushed = true
end

local function delay_until(entry, due)
  call('ZADD', DELAYED, due, entry)
  ring = true
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

-- When the first lease ends, the first delayed message is due and the first one
-- expires, in ms, as far as there are any.
local function first_due()
  local due = {}
  for i, key in ipairs({ LEASED, DELAYED, EXPIRY }) do
    due[i] = tonumber(call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
  end
  if due[1] then due[1] = lease_deadline(due[1]) end
  return due
end

local function is_due(due)
  return due[1] and due[1] <= now or due[2] and due[2] <= now or due[3] and due[3] <= now
end

-- When there is something to sweep next, in ms from now; 0: nothing.
local function next_due(due)
  local soonest = math.huge
  for i = 1, 3 do soonest = math.min(soonest, due[i] or math.huge) end
  return soonest < math.huge and math.max(1, math.ceil(soonest - now)) or 0
end
