-- Stores messages.
-- KEYS: the queue's (keys.rs).
-- ARGV: requests, as sending.lua says.
-- Returns: what became of each, as sending.lua says; nil without a queue.
local settings = call('HMGET', META, 'created', 'retention', 'max_messages', 'dedup_window')
if not settings[1] then return false end
return finish(send(1, settings[2], settings[3], settings[4]))
