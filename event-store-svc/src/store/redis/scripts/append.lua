#!lua
-- Appends the events of one or more requests to a topic, each request all or nothing.
--
-- KEYS  1 log  2 meta  3 rev  4 ids:0  5 ids:1  6… s:<subject>, each subject of the call once
-- ARGV  1 bell (a channel)
--       2 "create": the topic is made when it is missing; "": it must exist; a number: it must be the
--         topic that was created then
--       3 how many ids the call has
--       4 the shape of the call: numbers, packed as a MessagePack array
--       5… the subjects, in the order of their keys; then the ids; then the texts of the requests
--   The shape tells the requests one after the other, and what each takes from the texts:
--       0, n: n events without id and subject, of any number of requests that expect nothing: takes n events
--       events, expectations, ids, expectations × {subject, kind, revision}, events × subject:
--         takes a fingerprint if it has ids, then its events. Kinds: 1 revision, 2 no events, 3 exists.
--         Subjects count from 1; 0: none. All events of a request have an id or none has.
-- Returns nil when the topic is missing or another one, 0 when it is being deleted, else
--   {when the topic was created, milliseconds of all new positions, last sequence before,
--    exceptions, last revision of each subject before (-1 none)}
--   An exception names a request (a run counts as one, all count from 0) that was not appended:
--     {request, 1, which expectation failed (from 0), actual revision (-1 none)}
--     {request, 2, id that is known with other content}
--     {request, 3, answer of the first time: "<first position> <last revision of each subject>…"}
--   All others were: sequences are dense, a position is "<milliseconds>-<sequence>".
--
-- A bucket of ids maps an id to its request's fingerprint (16 bytes); the first id of a request
-- carries the answer behind it. The two buckets take turns, by Redis' clock.

local call = redis.call
local log, meta, rev = KEYS[1], KEYS[2], KEYS[3]
local state = call('HMGET', meta, 'created', 'deleting', 'sequence', 'last', 'bytes', 'largest', 'dedup_ms', 'dedup_epoch')
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local created = state[1]
if not created then
  if ARGV[2] ~= 'create' then return nil end
  created = string.format('%.0f', now)
  call('HSET', meta, 'created', created)
elseif ARGV[2] ~= '' and ARGV[2] ~= 'create' and ARGV[2] ~= created then
  return nil
end
if state[2] then return 0 end
local sequence, bytes, largest = tonumber(state[3] or 0), tonumber(state[5] or 0), tonumber(state[6] or 0)
local before = sequence
local ms = now
if state[4] then
  local last_ms = tonumber(string.match(state[4], '^%d+'))
  if last_ms > ms then ms = last_ms end
end
local prefix = string.format('%.0f-', ms)

local subjects, ids = #KEYS - 5, tonumber(ARGV[3])
local shape = cmsgpack.unpack(ARGV[4])
local first_id = 5 + subjects
local revision, base = {}, {}
if subjects > 0 then
  local known = call('HMGET', rev, unpack(ARGV, 5, 4 + subjects))
  for i = 1, subjects do
    local r = tonumber(known[i] or -1)
    revision[i] = r
    base[i] = r
  end
end
local window = tonumber(state[7] or 120000)
local current, found, earlier
if ids > 0 and window > 0 then
  local epoch, stored = math.floor(now / window), tonumber(state[8] or 0)
  if epoch > stored then
    call('UNLINK', KEYS[4 + epoch % 2])
    if epoch > stored + 1 then call('UNLINK', KEYS[4 + (epoch + 1) % 2]) end
    call('HSET', meta, 'dedup_epoch', epoch)
  else
    epoch = stored
  end
  current = KEYS[4 + epoch % 2]
  local previous = KEYS[4 + (epoch + 1) % 2]
  found = call('HMGET', current, unpack(ARGV, first_id, first_id + ids - 1))
  if call('EXISTS', previous) == 1 then
    earlier = call('HMGET', previous, unpack(ARGV, first_id, first_id + ids - 1))
  end
end

local fresh = {}
local function record_of(index)
  local record = found[index] or (earlier and earlier[index]) or fresh[ARGV[first_id + index - 1]]
  return record
end

local exceptions, records, record_count = {}, {}, 0
local positions = {}
local id_at, text_at = 1, first_id + ids
local at, request, size = 1, 0, #shape
local last
while at <= size do
  local events = shape[at]
  if events == 0 then
    local count = shape[at + 1]
    for i = text_at, text_at + count - 1 do
      local event = ARGV[i]
      sequence = sequence + 1
      last = prefix .. sequence
      call('XADD', log, last, 'e', event)
      local length = #event
      bytes = bytes + length
      if length > largest then largest = length end
    end
    text_at = text_at + count
    at = at + 2
  else
    local expectations, fingerprint = shape[at + 1], nil
    local events_at = at + 3 + expectations * 3
    local own_ids = shape[at + 2]
    if own_ids > 0 then
      fingerprint = ARGV[text_at]
      text_at = text_at + 1
    end
    local exception
    if own_ids > 0 and current then
      local answer
      for i = id_at, id_at + own_ids - 1 do
        local record = record_of(i)
        if record then
          if string.sub(record, 1, 16) ~= fingerprint then
            exception = {request, 2, ARGV[first_id + i - 1]}
            break
          end
          if #record > 16 then answer = string.sub(record, 17) end
        end
      end
      if answer and not exception then exception = {request, 3, answer} end
    end
    if not exception then
      for i = 0, expectations - 1 do
        local e = at + 3 + i * 3
        local actual, kind = revision[shape[e]], shape[e + 1]
        if (kind == 1 and actual ~= shape[e + 2]) or (kind == 2 and actual >= 0) or (kind == 3 and actual < 0) then
          exception = {request, 1, i, actual}
          break
        end
      end
    end
    if exception then
      exceptions[#exceptions + 1] = exception
    else
      local first = prefix .. (sequence + 1)
      local order, seen
      local revs = ''
      for i = 0, events - 1 do
        local event, subject = ARGV[text_at + i], shape[events_at + i]
        sequence = sequence + 1
        last = prefix .. sequence
        if subject > 0 then
          local r = revision[subject] + 1
          revision[subject] = r
          local text = r .. ''
          call('XADD', log, last, 'r', text, 's', ARGV[4 + subject], 'e', event)
          local list = positions[subject]
          if list then list[#list + 1] = last else positions[subject] = {last} end
          if events == 1 then revs = ' ' .. text
          else
            if not order then order, seen = {}, {} end
            if not seen[subject] then seen[subject] = true order[#order + 1] = subject end
          end
        else
          call('XADD', log, last, 'e', event)
        end
        local length = #event
        bytes = bytes + length
        if length > largest then largest = length end
      end
      if fingerprint and current then
        if order then
          for i, subject in ipairs(order) do order[i] = revision[subject] end
          revs = ' ' .. table.concat(order, ' ')
        end
        local record = fingerprint .. first .. revs
        for i = id_at, id_at + own_ids - 1 do
          local id = ARGV[first_id + i - 1]
          records[record_count + 1] = id
          records[record_count + 2] = record
          record_count = record_count + 2
          fresh[id] = record
          record = fingerprint
        end
      end
    end
    id_at = id_at + own_ids
    text_at = text_at + events
    at = events_at + events
  end
  request = request + 1
end

if sequence > before then
  call('HSET', meta, 'sequence', sequence, 'bytes', bytes, 'largest', largest, 'last', last)
  if subjects > 0 then
    local changed, n = {}, 0
    for subject, list in pairs(positions) do
      call('RPUSH', KEYS[5 + subject], unpack(list))
      changed[n + 1] = ARGV[4 + subject]
      changed[n + 2] = revision[subject]
      n = n + 2
    end
    if n > 0 then call('HSET', rev, unpack(changed)) end
  end
  if record_count > 0 then
    call('HSET', current, unpack(records))
    call('PEXPIRE', current, window * 2)
  end
  call('PUBLISH', ARGV[1], last)
end
return {created, ms, before, exceptions, base}
