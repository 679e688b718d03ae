-- What all queue scripts share; put in front of each of them, and behind it the
-- parts that it needs (scripts.rs). Making a function takes about as long as a
-- small command: those that are rarely needed by the scripts that are called most
-- are in parts of their own (rare_begin.lua).
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
  if #items <= 4000 then return #items > 0 and call(command, key, unpack(items)) end
  for i = 1, #items, 4000 do
    call(command, key, unpack(items, i, math.min(i + 3999, #items)))
  end
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
