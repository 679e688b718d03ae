-- Requests of one message each that are only to be stored: the common case of the
-- scripts that send. It comes in front of what the other cases need, because making
-- all of that takes longer than this.

-- The id in a record of such a request: behind two lengths, of which the first is 0,
-- the reply channel, and the tag of the id in the encoded Message.
local function id_in(record)
  local start = 6 + string.byte(record, 3)
  return string.sub(record, start, start + ID - 1)
end

-- When a message expires by the queue's retention; 0: never.
local function expires_with(retention)
  retention = tonumber(retention or 0)
  return retention > 0 and now + retention or 0
end

-- Their ids, and what BODY and EXPIRY get, if all from ARGV[first] on are such requests
-- (sending.lua) of normal priority; nil otherwise.
local function plain(first, retention)
  local requests = #ARGV - first
  if ARGV[first] ~= '*' .. requests then return nil end
  local expires = expires_with(retention)
  local times = struct.pack('>I6I6', now, expires)
  local ids, bodies, expiring = {}, {}, {}
  for i = 1, requests do
    local record = ARGV[first + i]
    local id = id_in(record)
    local flag = string.byte(id, ID)
    if flag ~= 48 and flag ~= 50 then return nil end
    ids[i] = id
    bodies[2 * i - 1], bodies[2 * i] = id, times .. record
    if expires > 0 then expiring[2 * i - 1], expiring[2 * i] = expires, id end
  end
  return ids, bodies, expiring
end

-- Writes them down, and counts them.
local function store_plain(ids, bodies, expiring)
  many('HSET', BODY, bodies)
  many('ZADD', EXPIRY, expiring)
  count('s', #ids)
end
