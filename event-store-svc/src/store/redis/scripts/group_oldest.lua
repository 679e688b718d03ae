#!lua flags=no-writes
-- Tells the oldest event that a group was delivered and has not done.
--
-- KEYS  1 log
-- ARGV  1 group
-- Returns its position, or nil when there is none, or Redis lost the group.

local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1])
if pending.err then return nil end
return pending[2]
