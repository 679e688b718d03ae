-- Leases messages.
-- KEYS: the queue's (keys.rs).
-- ARGV: as taking.lua says.
-- Returns: as taking.lua says.
return finish(take())
