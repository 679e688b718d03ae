#!lua flags=allow-oom
-- Removes a consumer group.
--
-- KEYS  1 log  2 groups  3… all keys of the group
-- ARGV  1 group  2 bell of the topic
-- Returns 1, or 0 when there is no such group.

local existed = redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
redis.call('UNLINK', unpack(KEYS, 3))
redis.call('PUBLISH', ARGV[2], '')
return existed
