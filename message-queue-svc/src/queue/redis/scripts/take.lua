-- Leases messages.
-- KEYS: the queue's (keys.rs).
-- ARGV: as taking.lua says.
-- Returns: as taking.lua says.
local settings = call('HMGET', META, 'created', 'paused', 'lease', 'max_in_flight', 'max_rate')
if not settings[1] then return false end
local take = begin_take(settings, call('EXISTS', DELAYED, EXPIRY) == 0)
fill(take)
return finish(end_take(take))
