#!lua flags=allow-oom
-- Removes consumers of a group that hold nothing and have not been seen for a while.
--
-- KEYS  1 log
-- ARGV  1 group  2 how long not seen (ms)
-- Returns how many were removed.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local removed = 0
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then return 0 end
for _, consumer in ipairs(consumers) do
  local info = {}
  for i = 1, #consumer, 2 do info[consumer[i]] = consumer[i + 1] end
  if info.pending == 0 and info.idle > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], info.name)
    removed = removed + 1
  end
end
return removed
