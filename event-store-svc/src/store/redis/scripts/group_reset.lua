#!lua
-- Sets a consumer group's progress to another place; parked events stay.
--
-- KEYS  1 log  2 meta  3 g:meta  4… what is forgotten: leases, retry, tries, busy, waiting, subjects, done, done_at
-- ARGV  1 group  2 bell of the topic  3 position after which it goes on  4 sequence there
-- Returns nil when the topic is missing, 0 when the group is, else 1.

if redis.call('EXISTS', KEYS[2]) == 0 then return nil end
if redis.call('EXISTS', KEYS[3]) == 0 then return 0 end
local time = redis.call('TIME')
local epoch = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[3], 'MKSTREAM')
redis.call('UNLINK', unpack(KEYS, 4))
redis.call('HSET', KEYS[3], 'epoch', epoch, 'checkpoint', ARGV[3], 'checkpoint_sequence', ARGV[4])
redis.call('HINCRBY', KEYS[2], 'groups_changed', 1)
redis.call('PUBLISH', ARGV[2], '')
return 1
