-- Says that a replica has no consumers for the queue any more.
-- KEYS: the queue's (keys.rs).
-- ARGV: the replica's name.
-- Returns: nothing of interest.
return call('HDEL', CONSUMERS, ARGV[1])
