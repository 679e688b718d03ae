-- Creates a queue unless it exists.
-- KEYS: the queue's (keys.rs).
-- ARGV: settings as fields and values, all of them.
-- Returns: 1 created, 0 it exists.
if call('HEXISTS', META, 'created') == 1 then return 0 end
call('HSET', META, 'created', string.format('%.0f', now), unpack(ARGV))
ring = true
return finish(1)
