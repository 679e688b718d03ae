-- Says that messages are done.
-- KEYS: the queue's (keys.rs).
-- ARGV: entries.
-- Returns: a string with a digit for each: 1 done (also if it was before), 0
--   the lease is lost.
local held = call('ZMSCORE', LEASED, unpack(ARGV))
local gone, ids, answer, again = {}, {}, {}, {}
for i, entry in ipairs(ARGV) do
  if held[i] then
    local id = string.sub(entry, 1, ID)
    gone[#gone + 1] = entry
    ids[#ids + 1] = id
    if #entry > ID then again[#again + 1] = entry end
    answer[i] = '1'
  else
    answer[i] = was_done(entry) and '1' or '0'
  end
end
if #gone > 0 then
  local acked = call('ZREM', LEASED, unpack(gone))
  local keys = {}
  for _, id in ipairs(ids) do
    if is_ordered(id) then
      local record = call('HGET', BODY, id)
      if record then
        local _, _, key = head(record)
        keys[#keys + 1] = { key, id }
      end
    end
  end
  call('HDEL', BODY, unpack(ids))
  if call('EXISTS', EXPIRY) == 1 then call('ZREM', EXPIRY, unpack(ids)) end
  for _, entry in ipairs(again) do
    local id, generation = parse(entry)
    call('HDEL', AGAIN, id)
    call('HDEL', ERRORS, id)
    remember_done(id, generation)
  end
  for _, key in ipairs(keys) do release_key(key[1], key[2]) end
  count('a', acked)
  if tonumber(call('HGET', META, 'max_in_flight') or 0) > 0 then ring = true end
end
return finish(table.concat(answer))
