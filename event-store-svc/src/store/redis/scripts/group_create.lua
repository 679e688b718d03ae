#!lua
-- Creates a consumer group.
--
-- KEYS  1 log  2 meta  3 g:meta  4 groups
-- ARGV  1 group  2 position after which it starts  3 sequence there  4… settings: field, value
-- Returns nil when the topic is missing, 1 when created, 0 when the group exists.

if redis.call('EXISTS', KEYS[2]) == 0 then return nil end
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local time = redis.call('TIME')
local epoch = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM')
redis.call('HSET', KEYS[3], 'epoch', epoch, 'checkpoint', ARGV[2], 'checkpoint_sequence', ARGV[3], unpack(ARGV, 4))
redis.call('ZADD', KEYS[4], 0, ARGV[1])
redis.call('HINCRBY', KEYS[2], 'groups_changed', 1)
return 1
