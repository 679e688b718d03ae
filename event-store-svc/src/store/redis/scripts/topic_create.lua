#!lua
-- Creates a topic.
--
-- KEYS  1 meta
-- ARGV  settings: field, value …
-- Returns 1 when created, 0 when it exists.

if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'created', now, unpack(ARGV))
return 1
