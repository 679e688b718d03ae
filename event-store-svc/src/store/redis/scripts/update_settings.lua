#!lua
-- Changes settings of a topic or group that exists.
--
-- KEYS  1 its meta
-- ARGV  field, value …
-- Returns 1, or 0 when it does not exist.

if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if #ARGV > 0 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
return 1
