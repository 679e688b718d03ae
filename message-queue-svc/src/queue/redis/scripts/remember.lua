-- What is remembered for a while: dedup keys, and acks of what came more than once.

-- Two buckets that take turns: what is in them is kept for at least `window`
-- ms, at most twice that. Answers the current one and the other.
local function buckets(name, first, second, window)
  local state = call('HMGET', META, name .. '_turn', name .. '_since')
  local turn, since = tonumber(state[1] or 0), tonumber(state[2] or 0)
  if now - since >= window then
    local stale = now - since >= 2 * window
    turn, since = 1 - turn, now
    call('UNLINK', turn == 0 and first or second)
    if stale then call('UNLINK', turn == 0 and second or first) end
    call('HSET', META, name .. '_turn', turn, name .. '_since', now)
  end
  if turn == 0 then return first, second end
  return second, first
end

-- Remembers under which lease a message that was delivered more than once was
-- acked, so that acking it again under that one succeeds, under an earlier
-- one fails.
local function remember_done(id, generation)
  local bucket = buckets('done', DONE0, DONE1, DONE_WINDOW)
  if call('HLEN', bucket) < DONE_MAX then
    call('HSET', bucket, id, generation)
    call('PEXPIRE', bucket, 2 * DONE_WINDOW)
  end
end

-- Whether a receipt that holds no lease may be told that its ack succeeded.
local function was_done(entry)
  local id, generation = parse(entry)
  if call('HEXISTS', BODY, id) == 1 or call('HEXISTS', DEADREC, id) == 1 then return false end
  local under = call('HGET', DONE0, id) or call('HGET', DONE1, id)
  if under then return tonumber(under) == generation end
  return generation == 0
end
