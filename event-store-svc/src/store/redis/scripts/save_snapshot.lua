#!lua
-- Keeps a subject's state, instead of an older one.
--
-- KEYS  1 meta  2 rev  3 snap
-- ARGV  1 subject  2 revision  3 encoded content type and data
-- Returns nil when the topic is missing, else {1} when kept or a newer one is there,
--   {0, last revision or ""} when the revision is beyond the subject's last.

if redis.call('EXISTS', KEYS[1]) == 0 then return nil end
local last = redis.call('HGET', KEYS[2], ARGV[1])
if not last or tonumber(ARGV[2]) > tonumber(last) then return {0, last or ''} end
local kept = redis.call('HGET', KEYS[3], ARGV[1])
if not kept or tonumber(string.match(kept, '^(%d+) ')) <= tonumber(ARGV[2]) then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now) .. ' ' .. ARGV[3])
end
return {1}
