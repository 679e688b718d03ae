-- Leases messages.
-- KEYS: the queue's (keys.rs).
-- ARGV: as taking.lua says.
-- Returns: as taking.lua says.
local take = begin_take()
if not take then return false end
fill(take)
return finish(end_take(take))
