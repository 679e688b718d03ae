-- Ordering keys: only the first message of a key is in a list, the others wait. A
-- member of WAITING is key, 0, number (16 hex digits), entry, blank, due time; all
-- have score 0, so that those of a key are together and in order. SINCE has the
-- number of each by its id until it is leased, and so tells who waits longest.
-- Neither has anything for a message that is gone.

-- Puts a new entry where it belongs; `due` 0: at once.
local function place(id, entry, due, key)
  if is_ordered(id) and call('HSETNX', HEADS, key, id) == 0 then
    local number = call('HINCRBY', META, 'waiting_seq', 1)
    local member = key .. '\0' .. string.format('%016x', number) .. entry .. ' '
      .. string.format('%.0f', due)
    call('ZADD', WAITING, 0, member)
    call('ZADD', SINCE, number, id)
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

-- Takes a message out of those that wait; answers whether it was among them.
local function leave_waiting(id, key)
  local number = call('ZSCORE', SINCE, id)
  if not number then return false end
  local from = key .. '\0' .. string.format('%016x', tonumber(number))
  call('ZREM', SINCE, id)
  return call('ZREMRANGEBYLEX', WAITING, '[' .. from, '(' .. from .. '\255') == 1
end

-- The head of an ordering key is done or dead: the next one may go.
local function release_key(key, id)
  if call('HGET', HEADS, key) ~= id then return end
  local member = call('ZRANGEBYLEX', WAITING, '[' .. key .. '\0', '(' .. key .. '\1', 'LIMIT', 0, 1)[1]
  if not member then
    call('HDEL', HEADS, key)
    return
  end
  local entry, due = waiting_entry(member)
  local next_id = string.sub(entry, 1, ID)
  call('ZREM', WAITING, member)
  call('HSET', HEADS, key, next_id)
  if due > now then
    call('ZREM', SINCE, next_id)
    delay_until(entry, due)
  else
    push(entry, false)
  end
end
