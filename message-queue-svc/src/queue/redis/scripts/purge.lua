-- Drops messages that are ready or delayed.
-- KEYS: the queue's (keys.rs).
-- ARGV: how many at most.
-- Returns: nil if the queue does not exist; otherwise { how many messages were
--   dropped, 1 if there may be more }.
if call('EXISTS', META) == 0 then return false end
local limit, taken, dropped = tonumber(ARGV[1]), 0, 0

local function drop(entry, listed)
  taken = taken + 1
  local id = string.sub(entry, 1, ID)
  local record = call('HGET', BODY, id)
  if record and current(id) == entry then
    ends().forget(id, record)
    dropped = dropped + 1
  elseif listed then
    ghosts(-1)
  end
end

-- Those that wait behind their key's head first, or they would become heads.
for _, member in ipairs(call('ZRANGE', WAITING, 0, limit - 1)) do
  drop(waiting_entry(member), false)
end
for _, list in ipairs({ HIGH, HANDOFF, READY, LOW }) do
  if taken < limit then
    for _, entry in ipairs(call('RPOP', list, limit - taken) or {}) do drop(entry, true) end
  end
end
if taken < limit then
  for _, entry in ipairs(call('ZRANGE', DELAYED, 0, limit - taken - 1)) do
    call('ZREM', DELAYED, entry)
    drop(entry, false)
  end
end
return finish({ dropped, taken >= limit and 1 or 0 })
