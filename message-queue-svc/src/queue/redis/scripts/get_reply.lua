#!lua flags=no-writes
-- Looks for the reply to a message.
-- KEYS: reply, body, records of dead letters.
-- ARGV: id.
-- Returns: an array of the reply; 'PENDING'; or nil if there is no such message.
local reply = redis.call('GET', KEYS[1])
if reply then return { reply } end
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then return 'PENDING' end
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return 'PENDING' end
return false
