#!lua flags=no-writes
-- Finds where an event with a given sequence stands, by bisection over the log.
--
-- KEYS  1 log
-- ARGV  1 the sequence
-- Returns the position of the first event whose sequence is at least that, or nil.

local log, wanted = KEYS[1], tonumber(ARGV[1])

local function entry(id)
  local found = redis.call('XRANGE', log, id, '+', 'COUNT', 1)[1]
  if not found then return nil end
  local ms, n = string.match(found[1], '^(%d+)-(%d+)$')
  return {id = found[1], ms = tonumber(ms), n = tonumber(n), sequence = tonumber(found[2][2])}
end

local first = entry('-')
if not first then return nil end
if first.sequence >= wanted then return first.id end
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if tonumber(newest[2][2]) < wanted then return nil end

-- First the millisecond: the last one that begins at or below the wanted sequence …
local low, high = first.ms, tonumber(string.match(newest[1], '^(%d+)'))
while low < high do
  local middle = math.ceil((low + high) / 2)
  local found = entry(string.format('%.0f-0', middle))
  if found and found.sequence <= wanted then low = found.ms > middle and found.ms or middle else high = middle - 1 end
end
-- … then the number within it.
local found = entry(string.format('%.0f-0', low))
if found.sequence >= wanted then return found.id end
local lower, upper = found.n, found.n + (wanted - found.sequence)
while lower < upper do
  local middle = math.floor((lower + upper) / 2)
  local candidate = entry(string.format('%.0f-%.0f', low, middle))
  if candidate and candidate.sequence >= wanted then upper = middle else lower = middle + 1 end
end
return entry(string.format('%.0f-%.0f', low, lower)).id
