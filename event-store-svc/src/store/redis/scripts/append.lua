#!lua
-- Appends the events of one or more requests to a topic, each request all or nothing.
--
-- KEYS  1 log  2 meta  3 rev  4 ids:0  5 ids:1  6… s:<subject>, each subject of the call once
-- ARGV  1 bell (a channel)  2 "1" to create the topic when it is missing
--       3… the subjects, in the order of their keys; then, to the end, requests:
--          number of events, number of expectations, fingerprint ("" when no event has an id),
--          expectations: index of the subject, kind (r revision, n none, e exists), revision
--          events: id ("" none), index of the subject (0 none), encoded event
-- Returns nil when the topic is missing, 0 when it is being deleted, else a reply for each request:
--   {0, first position, last position, first sequence, deduplicated, revision…}
--       the last revision of each subject, in the order in which the request first has it
--   {1, which expectation, from 0, actual revision or ""}   it failed
--   {2, id}                                                an id is known with other content
--
-- A bucket of ids maps an id to its request's fingerprint (16 bytes); the first id of a request
-- carries the answer behind it. The two buckets take turns, by Redis' clock.

local log, meta, rev = KEYS[1], KEYS[2], KEYS[3]
local subjects = #KEYS - 5
local state = redis.call('HMGET', meta, 'created', 'sequence', 'bytes', 'largest', 'dedup_ms', 'dedup_epoch', 'deleting')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if not state[1] then
  if ARGV[2] ~= '1' then return nil end
  redis.call('HSET', meta, 'created', now)
end
if state[7] then return 0 end
local sequence, bytes, largest = tonumber(state[2] or 0), tonumber(state[3] or 0), tonumber(state[4] or 0)
local before = sequence

-- What is known of the subjects, read once.
local revision = {}
if subjects > 0 then
  local names = {}
  for i = 1, subjects do names[i] = ARGV[2 + i] end
  local known = redis.call('HMGET', rev, unpack(names))
  for i = 1, subjects do revision[i] = tonumber(known[i] or -1) end
end

-- The ids of the call, looked up once.
local window = tonumber(state[5] or 120000)
local current, previous, known_ids, new_ids = nil, nil, {}, {}
local at = 3 + subjects
do
  local ids, cursor = {}, at
  while cursor <= #ARGV do
    local events, expectations = tonumber(ARGV[cursor]), tonumber(ARGV[cursor + 1])
    cursor = cursor + 3 + expectations * 3
    for _ = 1, events do
      if ARGV[cursor] ~= '' then ids[#ids + 1] = ARGV[cursor] end
      cursor = cursor + 3
    end
  end
  if #ids > 0 and window > 0 then
    local epoch, stored = math.floor(now / window), tonumber(state[6] or 0)
    if epoch > stored then
      redis.call('UNLINK', KEYS[4 + epoch % 2])
      if epoch > stored + 1 then redis.call('UNLINK', KEYS[4 + (epoch + 1) % 2]) end
      redis.call('HSET', meta, 'dedup_epoch', epoch)
    else
      epoch = stored
    end
    current, previous = KEYS[4 + epoch % 2], KEYS[4 + (epoch + 1) % 2]
    for _, bucket in ipairs({previous, current}) do
      local found = redis.call('HMGET', bucket, unpack(ids))
      for i, record in ipairs(found) do
        if record then known_ids[ids[i]] = record end
      end
    end
  end
end

-- Looks for what is known of a request's ids: nil, the answer of the first time, or a refusal.
-- All ids of a request were stored together, so one that is known with its fingerprint speaks for all.
local function repeated(first, events, fingerprint)
  local answer
  for i = first, first + (events - 1) * 3, 3 do
    local record = known_ids[ARGV[i]]
    if record then
      if string.sub(record, 1, 16) ~= fingerprint then return {2, ARGV[i]} end
      if #record > 16 then answer = string.sub(record, 17) end
    end
  end
  if not answer then return nil end
  local reply = cjson.decode(answer)
  reply[5] = 1
  return reply
end

local positions, last = {}, false
local replies = {}
while at <= #ARGV do
  local events, expectations, fingerprint = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
  local first_expectation, first_event = at + 3, at + 3 + expectations * 3
  at = first_event + events * 3

  local reply = fingerprint ~= '' and window > 0 and repeated(first_event, events, fingerprint) or nil
  if not reply then
    for i = first_expectation, first_event - 3, 3 do
      local subject, kind = tonumber(ARGV[i]), ARGV[i + 1]
      local actual = revision[subject]
      if (kind == 'r' and actual ~= tonumber(ARGV[i + 2])) or (kind == 'n' and actual >= 0) or (kind == 'e' and actual < 0) then
        reply = {1, (i - first_expectation) / 3, actual >= 0 and actual or ''}
        break
      end
    end
  end
  if not reply then
    local first_sequence, first_position = sequence + 1, nil
    local order, seen, first_id = {}, {}, nil
    for i = first_event, at - 3, 3 do
      local id, subject, event = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
      sequence = sequence + 1
      if subject > 0 then
        local r = revision[subject] + 1
        revision[subject] = r
        last = redis.call('XADD', log, '*', 'q', sequence, 'r', r, 's', ARGV[2 + subject], 'e', event)
        local list = positions[subject]
        if not list then
          list = {}
          positions[subject] = list
        end
        list[#list + 1] = last
        if not seen[subject] then
          seen[subject] = true
          order[#order + 1] = subject
        end
      else
        last = redis.call('XADD', log, '*', 'q', sequence, 'e', event)
      end
      first_position = first_position or last
      bytes = bytes + #event
      if #event > largest then largest = #event end
      if id ~= '' and current then
        if not first_id then first_id = id end
        known_ids[id] = fingerprint
        new_ids[#new_ids + 1] = id
      end
    end
    reply = {0, first_position, last, first_sequence, 0}
    for _, subject in ipairs(order) do reply[#reply + 1] = revision[subject] end
    if first_id then known_ids[first_id] = fingerprint .. cjson.encode(reply) end
  end
  replies[#replies + 1] = reply
end

if sequence > before then
  redis.call('HSET', meta, 'sequence', sequence, 'bytes', bytes, 'largest', largest, 'last', last)
  local changed = {}
  for subject, list in pairs(positions) do
    redis.call('RPUSH', KEYS[5 + subject], unpack(list))
    changed[#changed + 1] = ARGV[2 + subject]
    changed[#changed + 1] = revision[subject]
  end
  if #changed > 0 then redis.call('HSET', rev, unpack(changed)) end
  if #new_ids > 0 then
    local records = {}
    for _, id in ipairs(new_ids) do
      records[#records + 1] = id
      records[#records + 1] = known_ids[id]
    end
    redis.call('HSET', current, unpack(records))
    redis.call('PEXPIRE', current, window * 2)
  end
  redis.call('PUBLISH', ARGV[1], last)
end
return replies
