-- Stores messages.
-- KEYS: the queue's (keys.rs).
-- ARGV: requests, as sending.lua says.
-- Returns: what became of each, as sending.lua says; nil without a queue.
return finish(send(1, settings[2], settings[3], settings[4]))
