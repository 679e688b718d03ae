-- Ending leases with an ack.
local all_held, seen_held = true, {}

-- Takes leases out of LEASED, as far as they were not lost; answers how many.
local function end_leases(entries)
  local ended = call('ZREM', LEASED, unpack(entries))
  all_held = ended == #entries
  return ended
end

-- Whether a lease was among those just ended. An entry that was delivered and still
-- stands for its message was leased; one that is there twice is held once.
local function was_held(entry, id)
  if all_held then return true end
  if seen_held[id] or call('HEXISTS', BODY, id) == 0 or rare().current(id) ~= entry then
    return false
  end
  seen_held[id] = true
  return true
end

-- Forgets messages that are done, and of which there is nothing but this.
local function drop_bodies(ids)
  call('HDEL', BODY, unpack(ids))
  if call('EXISTS', EXPIRY) == 1 then call('ZREM', EXPIRY, unpack(ids)) end
end
