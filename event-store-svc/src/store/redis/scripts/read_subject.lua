#!lua flags=no-writes
-- Reads a page of a subject's events, by revision.
--
-- KEYS  1 log  2 meta  3 rev  4 s:<subject>
-- ARGV  1 subject  2 first revision wanted ("" from the oldest, or backward from the newest)
--       3 "1" backward  4 events at most  5 bytes at most (one event is always read)
-- Returns nil when the topic is missing, else {first revision kept, last revision, next revision,
--   entries…}; the revisions are "" when there are none. Entries that retention removed since are left out.

if redis.call('EXISTS', KEYS[2]) == 0 then return nil end
local last = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or -1)
if last < 0 then return {'', '', ''} end
local kept = redis.call('LLEN', KEYS[4])
local first = last - kept + 1
local backward, count, room = ARGV[3] == '1', tonumber(ARGV[4]), tonumber(ARGV[5])
local from = ARGV[2] ~= '' and tonumber(ARGV[2]) or (backward and last or first)
if backward then from = math.min(from, last) else from = math.max(from, first) end

local low, high = from, math.min(from + count - 1, last)
if backward then low, high = math.max(from - count + 1, first), from end
local reply = {first, last, ''}
if low > high then return reply end
local positions = redis.call('LRANGE', KEYS[4], low - first, high - first)
local begin, stop, step = 1, #positions, 1
if backward then begin, stop, step = #positions, 1, -1 end
local next_revision = backward and low - 1 or high + 1
for i = begin, stop, step do
  local found = redis.call('XRANGE', KEYS[1], positions[i], positions[i])[1]
  if found then
    local size = #found[2][#found[2]]
    if room < size and #reply > 3 then
      next_revision = low + i - 1
      break
    end
    room = room - size
    reply[#reply + 1] = found
  end
end
reply[3] = next_revision
return reply
