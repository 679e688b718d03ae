-- Says that messages are done.
-- KEYS: the queue's (keys.rs).
-- ARGV: entries.
-- Returns: a string with a digit for each: 1 done, 2 it was done before, 0 the
--   lease is lost.
local acked = end_leases(ARGV)
local ids, answer, again = {}, {}, {}
for i, entry in ipairs(ARGV) do
  local id = string.sub(entry, 1, ID)
  if was_held(entry, id) then
    ids[#ids + 1] = id
    if #entry > ID then again[#again + 1] = entry end
    answer[i] = '1'
  else
    local again_here = seen_held[id] and rare().current(id) == entry
    answer[i] = (again_here or rare().was_done(entry)) and '2' or '0'
  end
end
if #ids > 0 then
  local keys = {}
  for _, id in ipairs(ids) do
    local flag = string.byte(id, ID)
    if flag ~= 48 and flag ~= 50 and rare().is_ordered(id) then
      local record = call('HGET', BODY, id)
      if record then
        local _, _, key = rare().head(record)
        keys[#keys + 1] = { key, id }
      end
    end
  end
  drop_bodies(ids)
  for _, entry in ipairs(again) do
    local id, generation = rare().parse(entry)
    call('HDEL', AGAIN, id)
    call('HDEL', ERRORS, id)
    rare().remember_done(id, generation)
  end
  for _, key in ipairs(keys) do rare().release_key(key[1], key[2]) end
  count('a', acked)
  if tonumber(call('HGET', META, 'max_in_flight') or 0) > 0 then ring = true end
end
return finish(table.concat(answer))
