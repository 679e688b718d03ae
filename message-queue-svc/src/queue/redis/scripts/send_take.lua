-- Stores messages for which a consumer waits here, and leases what there is to
-- it: one round trip rather than a bell and two.
-- KEYS: the queue's (keys.rs).
-- ARGV: 1 to 7 as taking.lua says; this replica's name, how many consumers it
--   has, 1 if one of them holds nothing, a random number from 0 to 999; requests,
--   as sending.lua says.
-- Returns: nil if the queue does not exist. Otherwise { what became of the
--   requests, as sending.lua says; what was taken, as taking.lua says }.
local settings = call('HMGET', META, 'created', 'paused', 'lease', 'max_in_flight', 'max_rate',
  'retention', 'max_messages', 'dedup_window')
if not settings[1] then return false end
local quiet = call('EXISTS', HIGH, HANDOFF, READY, LOW, DELAYED, EXPIRY) == 0
local take = begin_take(settings, quiet)

-- How long what is left to others is theirs.
local YIELD_MS = 10

-- Consumers of other replicas get their part of what came, by their number: this
-- replica takes its own. One that holds nothing takes one message in any case:
-- nobody could handle it sooner.
local function share(stored)
  if call('HLEN', CONSUMERS) < 2 then return take.limit end
  local own, others = tonumber(ARGV[9]), 0
  local seen = call('HGETALL', CONSUMERS)
  for i = 1, #seen, 2 do
    local n, ends = string.match(seen[i + 1], '^(%d+) (%d+)$')
    if seen[i] ~= ARGV[8] and tonumber(ends) > now then others = others + tonumber(n) end
  end
  if others == 0 then return take.limit end
  local part = math.floor(stored * own / (own + others) + tonumber(ARGV[11]) / 1000)
  if ARGV[10] == '1' then part = math.max(part, 1) end
  if part >= take.limit then return take.limit end
  yields = ARGV[8]
  return part
end

-- Where nothing waits, what comes is leased without going through a list. Those
-- who sent it have it, so it is not answered either.
local was_empty = quiet or call('EXISTS', HIGH, HANDOFF, READY, LOW) == 0
local function direct(ready, sizes, stored)
  take.limit = share(stored)
  local count = 0
  while was_empty and sizes[count + 1] and take.leased < take.limit do
    if not lease_one(take, ready[count + 1], sizes[count + 1]) then break end
    count = count + 1
  end
  if count > 0 then take.result[4], take.result[5] = count, ready[count] end
  return count
end

local results = send(12, settings[6], settings[7], settings[8], direct)
if take.leased < take.limit and not take.full and (pushed or not was_empty) then fill(take) end
local taken = end_take(take)
if pushed and call('EXISTS', HIGH, HANDOFF, READY, LOW) == 0 then pushed = false end
if pushed and yields then taken[3] = YIELD_MS end
return finish({ results, taken })
