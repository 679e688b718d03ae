-- Changes settings of a queue, or pauses and resumes it.
-- KEYS: the queue's (keys.rs).
-- ARGV: fields and values; an empty value removes the field.
-- Returns: 1 changed, 0 the queue does not exist.
if call('HEXISTS', META, 'created') == 0 then return 0 end
for i = 1, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    call('HDEL', META, ARGV[i])
  else
    call('HSET', META, ARGV[i], ARGV[i + 1])
  end
end
-- Limits may have been raised, or deliveries resumed.
ring = true
return finish(1)
