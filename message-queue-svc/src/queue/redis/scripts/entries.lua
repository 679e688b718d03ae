-- Ids, entries and records, and putting entries where they belong.

local function flags(id)
  return tonumber(string.sub(id, ID, ID), 16) or 0
end

local function is_ordered(id)
  return flags(id) % 2 == 1
end

local function expects_reply(id)
  return math.floor(flags(id) / 2) % 2 == 1
end

local function list_of(id)
  local class = math.floor(flags(id) / 4)
  if class == 1 then return HIGH elseif class == 2 then return LOW end
  return READY
end

local function parse(entry)
  local id = string.sub(entry, 1, ID)
  local generation, failures = string.match(entry, '^%.(%d+)%.(%d+)$', ID + 1)
  return id, tonumber(generation or 0), tonumber(failures or 0)
end

-- The entry that stands for a message at present.
local function current(id)
  local again = call('HGET', AGAIN, id)
  return again and (id .. '.' .. again) or id
end

-- sent at, expires at, ordering key, reply channel
local function head(record)
  return struct.unpack('>I6I6Hc0Bc0', record)
end

local function ghosts(n)
  if n ~= 0 then call('HINCRBY', META, 'ghosts', n) end
end

-- Makes an entry ready: in front of its class, or behind.
local function push(entry, in_front)
  call(in_front and 'RPUSH' or 'LPUSH', list_of(entry), entry)
  pushed = true
end

local function delay_until(entry, due)
  call('ZADD', DELAYED, due, entry)
  ring = true
end
