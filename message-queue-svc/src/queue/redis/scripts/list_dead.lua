-- Lists dead letters, oldest first.
-- KEYS: the queue's (keys.rs).
-- ARGV: number after which to start, how many at most, how many bytes at most
--   (but one always).
-- Returns: nil if the queue does not exist; otherwise { 1 if there are more,
--   number, id, record, … }.
if call('EXISTS', META) == 0 then return false end
local limit, left = tonumber(ARGV[2]), tonumber(ARGV[3])
local found = call('ZRANGE', DEAD, '(' .. ARGV[1], '+inf', 'BYSCORE', 'LIMIT', 0, limit + 1,
  'WITHSCORES')
local result = { 0 }
for i = 1, #found, 2 do
  local record = call('HGET', DEADREC, found[i])
  if i > 2 * limit or (record and #result > 1 and #record > left) then
    result[1] = 1
    break
  end
  if record then
    left = left - #record
    result[#result + 1] = found[i + 1]
    result[#result + 1] = found[i]
    result[#result + 1] = record
  end
end
return result
