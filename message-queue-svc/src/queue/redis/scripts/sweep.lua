-- Upkeep of a queue that nobody may be looking at.
-- KEYS: the queue's (keys.rs).
-- ARGV: how many of each kind at most.
-- Returns: nil if the queue does not exist; otherwise { when to come again, in
--   ms, 0 for no reason known now; how many became dead letters }.
if call('EXISTS', META) == 0 then return false end
local more = ends().sweep(tonumber(ARGV[1]))
for _, id in ipairs(call('ZRANGE', DEAD, 0, 99)) do
  local record = call('HGET', DEADREC, id)
  local since = record and struct.unpack('>I6', record) or 0
  if since > now - DEAD_KEEP then break end
  ends().drop_dead({ id })
end
local seen = call('HGETALL', CONSUMERS)
for i = 1, #seen, 2 do
  -- Replicas that died could not say that they left.
  local ends = string.match(seen[i + 1], ' (%d+)$')
  if tonumber(ends) <= now then call('HDEL', CONSUMERS, seen[i]) end
end
local takes = call('HGETALL', TAKES)
for i = 1, #takes, 2 do
  -- Of replicas that died: what they took has ended, what they sent has come.
  local at = string.match(takes[i + 1], ' (.+)$')
  if at and math.abs(tonumber(at)) < lease_score(now - 3600000) then call('HDEL', TAKES, takes[i]) end
end
return finish({ more and 1 or next_due(first_due()), died })
