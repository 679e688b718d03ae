-- Answers the senders of messages, and acks these.
-- KEYS: the queue's (keys.rs), then for each reply its key and the channel of
--   those who wait for it by id.
-- ARGV: for each reply the entry, the encoded ReplyContent, and 1 if its caller
--   waits where the reply is made, and need not be told by the channel.
-- Returns: a string with a letter for each: D done, L lease lost, N none is
--   expected, R replied already.
local answer, acked = {}, 0
local kept = tonumber(call('HGET', META, 'reply_retention') or 60000)
for i = 1, #ARGV / 3 do
  local entry, content, here = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local key, channel = KEYS[QUEUE_KEYS + 2 * i - 1], KEYS[QUEUE_KEYS + 2 * i]
  local id, generation = parse(entry)
  if not expects_reply(id) then
    answer[i] = 'N'
  elseif call('EXISTS', key) == 1 then
    answer[i] = 'R'
  elseif call('ZREM', LEASED, entry) == 0 then
    answer[i] = 'L'
  else
    local record = call('HGET', BODY, id)
    call('SET', key, content, 'PX', kept)
    if record then
      local _, _, _, reply_to = head(record)
      if reply_to ~= '' and here ~= '1' then call('PUBLISH', reply_to, id .. content) end
      ends().forget(id, record)
    end
    call('PUBLISH', channel, '1')
    if generation > 0 then remember_done(id, generation) end
    acked = acked + 1
    answer[i] = 'D'
  end
end
count('a', acked)
if acked > 0 and tonumber(call('HGET', META, 'max_in_flight') or 0) > 0 then ring = true end
return finish(table.concat(answer))
