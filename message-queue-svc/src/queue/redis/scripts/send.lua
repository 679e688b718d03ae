-- Stores messages.
-- KEYS: the queue's (keys.rs).
-- ARGV: requests, as sending.lua says.
-- Returns: what became of each, as sending.lua says; nil without a queue.
local results = send(1)
return finish(results)
