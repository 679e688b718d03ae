-- Ordering keys: only the first message of a key is in a list, the others wait.

-- Puts a new entry where it belongs; `due` 0: at once.
local function place(id, entry, due, key)
  if is_ordered(id) and call('HSETNX', HEADS, key, id) == 0 then
    local number = call('HINCRBY', META, 'waiting_seq', 1)
    local member = key .. '\0' .. string.format('%016x', number) .. entry .. ' '
      .. string.format('%.0f', due)
    call('ZADD', WAITING, 0, member)
    return
  end
  if due > now then delay_until(entry, due) else push(entry, false) end
end

-- The entry and due time in a member of WAITING.
local function waiting_entry(member)
  local rest = string.sub(member, string.find(member, '\0', 1, true) + 17)
  local entry, due = string.match(rest, '^(%S+) (%d+)$')
  return entry, tonumber(due)
end

-- The head of an ordering key is done or dead: the next one may go.
local function release_key(key, id)
  if call('HGET', HEADS, key) ~= id then return end
  while true do
    local member = call('ZRANGEBYLEX', WAITING, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
    if not member then
      call('HDEL', HEADS, key)
      return
    end
    call('ZREM', WAITING, member)
    local entry, due = waiting_entry(member)
    local next_id = string.sub(entry, 1, ID)
    if call('HEXISTS', BODY, next_id) == 1 and current(next_id) == entry then
      call('HSET', HEADS, key, next_id)
      if due > now then delay_until(entry, due) else push(entry, false) end
      return
    end
    ghosts(-1)
  end
end
