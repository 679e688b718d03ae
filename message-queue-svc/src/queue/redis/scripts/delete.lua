-- Removes a queue; Redis frees the memory in the background. Replies are not
-- kept for long anyway.
-- KEYS: the queue's (keys.rs).
-- ARGV: none.
-- Returns: 1 removed, 0 it did not exist.
if call('EXISTS', META) == 0 then return 0 end
for i = 1, QUEUE_KEYS - 1 do call('UNLINK', KEYS[i]) end
ring = true
return finish(1)
