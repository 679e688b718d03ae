-- Takes a message back unless somebody has it.
-- KEYS: the queue's (keys.rs), then the key of its reply.
-- ARGV: id.
-- Returns: 'WITHDRAWN', 'IN_PROGRESS', 'GONE' (acked without a reply), or the
--   reply as an array of one.
local id = ARGV[1]
local reply = call('GET', KEYS[QUEUE_KEYS + 1])
if reply then return { reply } end
local record = call('HGET', BODY, id)
if not record then
  if call('HEXISTS', DEADREC, id) == 1 then return 'IN_PROGRESS' end
  return 'GONE'
end
local entry = current(id)
if call('ZSCORE', LEASED, entry) then return 'IN_PROGRESS' end
ends().unlist(id, entry, record)
ends().forget(id, record)
return finish('WITHDRAWN')
