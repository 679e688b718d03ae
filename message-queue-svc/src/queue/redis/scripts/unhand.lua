-- Puts back what was handed off to a consumer that has gone.
-- KEYS: the queue's (keys.rs).
-- ARGV: none.
-- Returns: how many.
local moved = 0
while moved < 100 do
  local entry = call('LPOP', HANDOFF)
  if not entry then break end
  call('RPUSH', READY, entry)
  ring = true
  moved = moved + 1
end
return finish(moved)
