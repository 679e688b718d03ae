-- Answers the senders of messages, and acks these.
-- KEYS: the queue's (keys.rs), then for each reply its key and the channel of
--   those who wait for it by id.
-- ARGV: for each reply the entry, the encoded ReplyContent, and 1 if its caller
--   waits where the reply is made, and need not be told by the channel.
-- Returns: a string with a letter for each: D done, L lease lost, N none is
--   expected, R replied already.
local settings = call('HMGET', META, 'reply_retention', 'max_in_flight')
local kept = settings[1] or '60000'

-- Messages of a first lease that have no order: all there is of these is in BODY
-- and EXPIRY.
local function is_simple(entry)
  return #entry == ID and string.byte(entry, ID) == 50
end

local entries, answer = {}, {}
for i = 1, #ARGV / 3 do
  local entry = ARGV[3 * i - 2]
  if is_simple(entry) or rare().expects_reply(entry) then
    entries[#entries + 1] = entry
  else
    answer[i] = 'N'
  end
end
local acked, simple = #entries > 0 and end_leases(entries) or 0, {}

local function reply(entry, content, here, key, channel)
  local id = string.sub(entry, 1, ID)
  if not was_held(entry, id) then return call('EXISTS', key) == 1 and 'R' or 'L' end
  call('SET', key, content, 'PX', kept)
  local is_simple = is_simple(entry)
  local record = (here ~= '1' or not is_simple) and call('HGET', BODY, id)
  if record and here ~= '1' then
    local _, _, _, reply_to = rare().head(record)
    if reply_to ~= '' then call('PUBLISH', reply_to, id .. content) end
  end
  call('PUBLISH', channel, '1')
  if is_simple then
    simple[#simple + 1] = id
  else
    local _, generation = rare().parse(entry)
    if record then rare().ends().forget(id, record) end
    if generation > 0 then rare().remember_done(id, generation) end
  end
  return 'D'
end

for i = 1, #ARGV / 3 do
  local key = QUEUE_KEYS + 2 * i - 1
  answer[i] = answer[i]
    or reply(ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i], KEYS[key], KEYS[key + 1])
end
if #simple > 0 then drop_bodies(simple) end
count('a', acked)
if acked > 0 and tonumber(settings[2] or 0) > 0 then ring = true end
return finish(table.concat(answer))
