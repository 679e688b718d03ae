#!lua flags=no-writes
-- Finds where an event with a given sequence stands, by bisection over the log: positions are
-- "<milliseconds>-<sequence>", and both only grow.
--
-- KEYS  1 log
-- ARGV  1 the sequence
-- Returns the position of the first event whose sequence is at least that, or nil.

local log, wanted = KEYS[1], tonumber(ARGV[1])

local function entry(id)
  local found = redis.call('XRANGE', log, id, '+', 'COUNT', 1)[1]
  if not found then return nil end
  local ms, sequence = string.match(found[1], '^(%d+)-(%d+)$')
  return {id = found[1], ms = tonumber(ms), sequence = tonumber(sequence)}
end

local first = entry('-')
if not first then return nil end
if first.sequence >= wanted then return first.id end
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local newest_ms, newest_sequence = string.match(newest[1], '^(%d+)-(%d+)$')
if tonumber(newest_sequence) < wanted then return nil end

-- The last millisecond that begins at or below the wanted sequence has it.
local low, high = first.ms, tonumber(newest_ms)
while low < high do
  local middle = math.ceil((low + high) / 2)
  local found = entry(string.format('%.0f-0', middle))
  if found and found.sequence <= wanted then low = found.ms > middle and found.ms or middle else high = middle - 1 end
end
return entry(string.format('%.0f-%.0f', low, wanted)).id
