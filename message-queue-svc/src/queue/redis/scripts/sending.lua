-- Storing messages, for the scripts that send: requests of many callers at
-- once, each all or nothing. From ARGV[first] on, either of
--   the number of a request's messages, and for each of these id, record without
--   its two times, options ('' or: delay (6, ms), deliver at (6, ms), time to
--   live (6, ms), 16 bytes of content hash, dedup key; a time of 0 is none);
--   '*' and the number of requests of one message each, which have no options, no
--   ordering key and nobody who waits for a reply; and their records.
-- Answers nil if the queue does not exist. Otherwise an item for each of these:
-- 0 stored; an array of ids, '' for what is new, if any was sent before; or
-- 'FULL' or 'REUSED <index of the message, from 0>'. For '*' how many of them
-- were stored: the queue is full for the others. And how many were stored at all.
-- `direct` is asked how many of the messages that are ready, in their order,
-- need not go into a list, unless some go before others.
local function send(first, direct)
  local settings = call('HMGET', META, 'created', 'retention', 'max_messages', 'dedup_window')
  if not settings[1] then return false end
  local retention, max_messages = tonumber(settings[2] or 0), tonumber(settings[3] or 0)
  local window = tonumber(settings[4] or 0)
  local size = max_messages > 0 and call('HLEN', BODY) or 0

  local bucket, other
  local function known(key)
    if window == 0 then return nil end
    if not bucket then bucket, other = buckets('dedup', DEDUP0, DEDUP1, window) end
    return call('HGET', bucket, key) or call('HGET', other, key)
  end

  local bodies, plain, whole_of, stored = {}, {}, {}, 0
  local lists = { [READY] = plain, [HIGH] = {}, [LOW] = {} }

  local packed, packed_for
  local function times(expires)
    if expires ~= packed_for then
      packed, packed_for = struct.pack('>I6I6', now, expires), expires
    end
    return packed
  end

  local function store(id, record, delay, deliver_at, ttl)
    local due = deliver_at
    if delay > 0 then due = now + delay end
    local expires = 0
    if ttl > 0 then expires = now + ttl elseif retention > 0 then expires = now + retention end
    if expires > 0 then call('ZADD', EXPIRY, expires, id) end
    local whole = times(expires) .. record
    stored = stored + 1
    bodies[2 * stored - 1] = id
    bodies[2 * stored] = whole
    if due == 0 and is_plain(id) then
      plain[#plain + 1] = id
      whole_of[#plain] = whole
    elseif is_ordered(id) then
      local _, _, key = head(whole)
      place(id, id, due, key)
    elseif due > now then
      delay_until(id, due)
    else
      local list = lists[list_of(id)]
      list[#list + 1] = id
    end
  end

  local results = {}
  local at = first
  local function requests_of_one(count)
    local room = count
    if max_messages > 0 then room = math.max(0, math.min(count, max_messages - size)) end
    for i = at + 1, at + room do
      -- Behind two lengths of 0 and the tag of the id in the encoded Message.
      store(string.sub(ARGV[i], 6, 5 + ID), ARGV[i], 0, 0, 0)
    end
    size = size + room
    at = at + 1 + count
    return room
  end

  local function request(messages)
    local head_of = at + 1
    at = at + 1 + 3 * messages
    local verdict, fresh, before, any_before, seen = 0, messages, {}, false, {}
    for i = 0, messages - 1 do
      local options = ARGV[head_of + 3 * i + 2]
      before[i + 1] = ''
      if #options > 34 then
        local hash, key = string.sub(options, 19, 34), string.sub(options, 35)
        local found = known(key) or (window > 0 and seen[key])
        if not found then
          seen[key] = ARGV[head_of + 3 * i] .. hash
        elseif string.sub(found, ID + 1) == hash then
          before[i + 1] = string.sub(found, 1, ID)
          any_before = true
          fresh = fresh - 1
        else
          verdict = 'REUSED ' .. i
          break
        end
      end
    end
    if verdict == 0 and max_messages > 0 and fresh > 0 and size + fresh > max_messages then
      verdict = 'FULL'
    end
    if verdict == 0 then
      size = size + fresh
      for i = 0, messages - 1 do
        if before[i + 1] == '' then
          local id, record, options = ARGV[head_of + 3 * i], ARGV[head_of + 3 * i + 1], ARGV[head_of + 3 * i + 2]
          local delay, deliver_at, ttl = 0, 0, 0
          if options ~= '' then
            delay, deliver_at, ttl = struct.unpack('>I6I6I6', options)
            if #options > 34 and window > 0 then
              call('HSET', bucket, string.sub(options, 35), id .. string.sub(options, 19, 34))
              call('PEXPIRE', bucket, 2 * window + 1000)
            end
          end
          store(id, record, delay, deliver_at, ttl)
        end
      end
      if any_before then verdict = before end
    end
    return verdict
  end

  while at <= #ARGV do
    if string.byte(ARGV[at]) == 42 then
      results[#results + 1] = requests_of_one(tonumber(string.sub(ARGV[at], 2)))
    else
      results[#results + 1] = request(tonumber(ARGV[at]))
    end
  end

  many('HSET', BODY, bodies)
  if direct then
    local first_in_turn = #lists[HIGH] == 0 and not pushed
    local count = direct(first_in_turn and plain or {}, whole_of, stored)
    if count > 0 then lists[READY] = { unpack(plain, count + 1) } end
  end
  for list, entries in pairs(lists) do
    if #entries > 0 then
      many('LPUSH', list, entries)
      pushed = true
    end
  end
  count('s', stored)
  return results, stored
end
