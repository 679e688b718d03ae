-- Makes dead letters messages again: of this queue, or brought from another.
-- KEYS: the queue's (keys.rs).
-- ARGV: either how many of this queue's own, oldest first; or for each that
--   is brought: id, its dead letter's record.
-- Returns: nil if the queue does not exist; otherwise how many.
local settings = call('HMGET', META, 'created', 'retention')
if not settings[1] then return false end
local retention, revived = tonumber(settings[2] or 0), 0

local function revive(id, dead)
  local _, _, _, generation, _, at = struct.unpack('>I6BI4I4Hc0', dead)
  local record = string.sub(dead, at)
  local sent, _, key = head(record)
  local expires = retention > 0 and now + retention or 0
  call('HSET', BODY, id, struct.pack('>I6I6', sent, expires) .. string.sub(record, 13))
  -- A generation of its own: what may still be listed for it is not it.
  local again = string.format('%d.0', generation + 1)
  call('HSET', AGAIN, id, again)
  if expires > 0 then call('ZADD', EXPIRY, expires, id) end
  place(id, id .. '.' .. again, 0, key)
  revived = revived + 1
end

if #ARGV == 1 then
  for _, id in ipairs(call('ZRANGE', DEAD, 0, tonumber(ARGV[1]) - 1)) do
    local dead = call('HGET', DEADREC, id)
    ends().drop_dead({ id })
    if dead then revive(id, dead) end
  end
else
  for i = 1, #ARGV, 2 do
    -- One that is here already came with an attempt that was cut short.
    if call('HEXISTS', BODY, ARGV[i]) == 0 and call('HEXISTS', DEADREC, ARGV[i]) == 0 then
      revive(ARGV[i], ARGV[i + 1])
    end
  end
end
return finish(revived)
