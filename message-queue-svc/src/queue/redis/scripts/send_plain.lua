-- The common case of send.lua, in front of what the others need.
local settings = call('HMGET', META, 'created', 'retention', 'max_messages', 'dedup_window')
if not settings[1] then return false end

if not settings[3] then
  local ids, bodies, expiring = plain(1, settings[2])
  if ids then
    store_plain(ids, bodies, expiring)
    many('LPUSH', READY, ids)
    pushed = true
    return finish({ #ids })
  end
end
