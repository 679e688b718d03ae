-- Tells a queue's settings and figures.
-- KEYS: the queue's (keys.rs).
-- ARGV: none.
-- Returns: nil if the queue does not exist; otherwise { ready, in flight,
--   delayed, dead letters, age of the oldest ready message in ms or nil, sent
--   and acked in the last minute, consumers, fields and values of META }.
local meta = call('HGETALL', META)
if #meta == 0 then return false end
local ghost = tonumber(call('HGET', META, 'ghosts') or 0)
local due = call('ZCOUNT', DELAYED, '-inf', now)
local ready = call('LLEN', HIGH) + call('LLEN', HANDOFF) + call('LLEN', READY) + call('LLEN', LOW)
  + call('ZCARD', WAITING) + due - ghost
local oldest = nil
for _, list in ipairs({ HIGH, HANDOFF, READY, LOW }) do
  -- The first in turn; ghosts in front of it are skipped, up to ten.
  for _, at in ipairs({ -1, -2, -3, -4, -5, -6, -7, -8, -9, -10 }) do
    local entry = call('LINDEX', list, at)
    if not entry then break end
    local record = call('HGET', BODY, string.sub(entry, 1, ID))
    if record then
      local sent = struct.unpack('>I6', record)
      if not oldest or sent < oldest then oldest = sent end
      break
    end
  end
end
-- What waits behind its key's first message, which may be in the works for long.
local longest = call('ZRANGE', SINCE, 0, 0)[1]
local record = longest and call('HGET', BODY, longest)
if record then oldest = math.min(oldest or math.huge, (struct.unpack('>I6', record))) end
local sent, acked, slot = 0, 0, math.floor(now / 5000)
local stats = call('HGETALL', STATS)
for i = 1, #stats, 2 do
  if tonumber(string.sub(stats[i], 2)) > slot - 12 then
    if string.sub(stats[i], 1, 1) == 's' then
      sent = sent + tonumber(stats[i + 1])
    else
      acked = acked + tonumber(stats[i + 1])
    end
  end
end
local consumers, seen = 0, call('HGETALL', CONSUMERS)
for i = 2, #seen, 2 do
  local n, ends = string.match(seen[i], '^(%d+) (%d+)$')
  if tonumber(ends) > now then consumers = consumers + tonumber(n) end
end
return {
  math.max(0, ready), call('ZCARD', LEASED), call('ZCARD', DELAYED) - due, call('ZCARD', DEAD),
  oldest and math.max(0, now - oldest) or false, sent, acked, consumers, meta,
}
