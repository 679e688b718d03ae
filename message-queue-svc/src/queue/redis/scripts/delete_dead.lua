-- Drops dead letters.
-- KEYS: the queue's (keys.rs).
-- ARGV: how many of the oldest at most; or 0, and ids.
-- Returns: nil if the queue does not exist; otherwise how many.
if call('EXISTS', META) == 0 then return false end
local ids = {}
if ARGV[1] ~= '0' then
  ids = call('ZRANGE', DEAD, 0, tonumber(ARGV[1]) - 1)
else
  for i = 2, #ARGV do ids[#ids + 1] = ARGV[i] end
end
if #ids == 0 then return 0 end
local deleted = call('ZREM', DEAD, unpack(ids))
call('HDEL', DEADREC, unpack(ids))
return deleted
