-- Storing messages, for the scripts that send: requests of many callers at
-- once, each all or nothing. From ARGV[first] on, either of
--   the number of a request's messages, and for each of these id, record without
--   its two times, options ('' or: delay (6, ms), deliver at (6, ms), time to
--   live (6, ms), 16 bytes of content hash, dedup key; a time of 0 is none);
--   '*' and the number of requests of one message each, which have no options and
--   no ordering key; and their records.
-- Answers for each of these an item: 0 stored; an array of ids, '' for what is
-- new, if any was sent before; or 'FULL' or 'REUSED <index of the message, from
-- 0>'. For '*' how many of them were stored: the queue is full for the others.

-- Puts a message where it can be taken from, behind the others: `to.ready` is for
-- READY. Only those with a size may be leased as they come.
local function list(to, id, size)
  local flag = string.byte(id, ID)
  if flag == 48 or flag == 50 then
    to.count = to.count + 1
    to.ready[to.count] = id
    to.sizes[to.count] = size
  else
    local name = rare().list_of(id)
    to.others[name] = to.others[name] or {}
    table.insert(to.others[name], id)
  end
end

-- A request that may be anything; `at` is where its messages begin.
local function request(to, at, messages)
  local window = to.window
  local bucket, other
  local function known(key)
    if window == 0 then return nil end
    if not bucket then bucket, other = rare().buckets('dedup', DEDUP0, DEDUP1, window) end
    return call('HGET', bucket, key) or call('HGET', other, key)
  end

  local fresh, before, any_before, seen = messages, {}, false, {}
  for i = 0, messages - 1 do
    local options = ARGV[at + 3 * i + 2]
    before[i + 1] = ''
    if #options > 34 then
      local hash, key = string.sub(options, 19, 34), string.sub(options, 35)
      local found = known(key) or (window > 0 and seen[key])
      if not found then
        seen[key] = ARGV[at + 3 * i] .. hash
      elseif string.sub(found, ID + 1) == hash then
        before[i + 1] = string.sub(found, 1, ID)
        any_before = true
        fresh = fresh - 1
      else
        return 'REUSED ' .. i
      end
    end
  end
  if to.max_messages > 0 and fresh > 0 and to.held + fresh > to.max_messages then return 'FULL' end
  to.held = to.held + fresh

  local function store(id, record, options)
    local due, expires, times = 0, to.expires, to.times
    if options ~= '' then
      local delay, deliver_at, ttl = struct.unpack('>I6I6I6', options)
      due = delay > 0 and now + delay or deliver_at
      if ttl > 0 then
        expires = now + ttl
        times = struct.pack('>I6I6', now, expires)
      end
      if #options > 34 and window > 0 then
        call('HSET', bucket, string.sub(options, 35), id .. string.sub(options, 19, 34))
        call('PEXPIRE', bucket, 2 * window + 1000)
      end
    end
    if expires > 0 then call('ZADD', EXPIRY, expires, id) end
    local whole = times .. record
    to.stored = to.stored + 1
    to.bodies[2 * to.stored - 1] = id
    to.bodies[2 * to.stored] = whole
    if rare().is_ordered(id) then
      local _, _, key = rare().head(whole)
      rare().place(id, id, due, key)
    elseif due > now then
      rare().delay_until(id, due)
    else
      list(to, id, due == 0 and #whole or nil)
    end
  end
  for i = 0, messages - 1 do
    if before[i + 1] == '' then
      store(ARGV[at + 3 * i], ARGV[at + 3 * i + 1], ARGV[at + 3 * i + 2])
    end
  end
  return any_before and before or 0
end

-- `retention`, `max_messages` and `window` are settings, as they were read.
-- `direct` is asked how many of the messages that are ready, in their order,
-- need not go into a list, unless some go before others.
local function send(first, retention, max_messages, window, direct)
  max_messages = tonumber(max_messages or 0)
  local expires = expires_with(retention)
  local bodies, times = {}, struct.pack('>I6I6', now, expires)
  local to = {
    bodies = bodies, times = times, expires = expires, stored = 0,
    ready = {}, sizes = {}, count = 0, others = {},
    max_messages = max_messages, held = max_messages > 0 and call('HLEN', BODY) or 0,
    window = tonumber(window or 0),
  }

  -- Requests of one message without options; answers how many of them there is room for.
  local function simple(at, requests)
    local room = requests
    if max_messages > 0 then room = math.max(0, math.min(requests, max_messages - to.held)) end
    local stored = to.stored
    for i = at, at + room - 1 do
      local record = ARGV[i]
      local id = id_in(record)
      stored = stored + 1
      bodies[2 * stored - 1] = id
      bodies[2 * stored] = times .. record
      if expires > 0 then call('ZADD', EXPIRY, expires, id) end
      list(to, id, #record + 12)
    end
    to.stored = stored
    to.held = to.held + room
    return room
  end

  local results, at = {}, first
  while at <= #ARGV do
    local head = ARGV[at]
    if string.byte(head) == 42 then
      local requests = tonumber(string.sub(head, 2))
      results[#results + 1] = simple(at + 1, requests)
      at = at + 1 + requests
    else
      local messages = tonumber(head)
      results[#results + 1] = request(to, at + 1, messages)
      at = at + 1 + 3 * messages
    end
  end

  many('HSET', BODY, bodies)
  local ready, others = to.ready, to.others
  if direct then
    local in_turn = not others[HIGH] and not pushed
    local count = in_turn and direct(ready, to.sizes, to.stored) or direct({}, {}, to.stored)
    if count > 0 then ready = { unpack(ready, count + 1) } end
  end
  others[READY] = ready
  for name, entries in pairs(others) do
    if #entries > 0 then
      many('LPUSH', name, entries)
      pushed = true
    end
  end
  count('s', to.stored)
  return results
end
