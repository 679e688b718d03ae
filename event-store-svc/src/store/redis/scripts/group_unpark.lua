-- Takes parked events off: for delivery again, or for good.
--
-- KEYS, ARGV 1 to 3: see group_common.lua
-- ARGV  4 "1" to deliver them again, "0" to drop them  5 how many of the oldest ("" those named)  6… positions
-- Returns nil when the topic is missing, 0 when the group is, else {how many}.

local positions = {}
if ARGV[5] ~= '' then
  positions = redis.call('ZRANGE', PARKED, 0, tonumber(ARGV[5]) - 1)
else
  for i = 6, #ARGV do positions[#positions + 1] = ARGV[i] end
end
local taken = 0
for _, position in ipairs(positions) do
  if redis.call('ZREM', PARKED, position) == 1 then
    taken = taken + 1
    local lease = string.match(redis.call('HGET', PARKED_INFO, position) or '1 ', '^(%d+) ')
    redis.call('HDEL', PARKED_INFO, position)
    local entry = ARGV[4] == '1' and redis.call('XRANGE', LOG, position, position)[1]
    if entry then
      redis.call('HSET', TRIES, position, lease .. ' 0')
      redis.call('HDEL', DONE, position)
      redis.call('ZREM', DONE_AT, position)
      claim('parked', position, 0)
      local subject = ordered and entry[2][3] == 's' and entry[2][4]
      if subject and redis.call('HSETNX', BUSY, subject, position) == 0 then
        redis.call('ZADD', WAITING, 0, subject .. '\0' .. padded(position))
      else
        if subject then redis.call('HSET', SUBJECTS, position, subject) end
        queue(position, now)
      end
    end
  end
end
conclude()
return {taken}
