-- Shows messages without taking them, those next in turn first.
-- KEYS: the queue's (keys.rs).
-- ARGV: state (ready, delayed, in_flight), how many at most, how many bytes at
--   most (but one message always).
-- Returns: nil if the queue does not exist; otherwise an array of entry, due
--   time or deadline in ms ('' if ready), record, …
if call('EXISTS', META) == 0 then return false end
local state, limit, left = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local result, shown, full = {}, 0, false

local function show(entry, due)
  if shown >= limit or full then return end
  local id = string.sub(entry, 1, ID)
  local record = call('HGET', BODY, id)
  if not record or current(id) ~= entry then return end
  if shown > 0 and #record > left then
    full = true
    return
  end
  left = left - #record
  shown = shown + 1
  result[#result + 1] = entry
  result[#result + 1] = due
  result[#result + 1] = record
end

if state == 'ready' then
  for _, list in ipairs({ HIGH, HANDOFF, READY, LOW }) do
    local entries = call('LRANGE', list, -limit, -1)
    for i = #entries, 1, -1 do show(entries[i], '') end
  end
  for _, member in ipairs(call('ZRANGE', WAITING, 0, limit - 1)) do
    local entry = waiting_entry(member)
    show(entry, '')
  end
else
  local leased = state == 'in_flight'
  local found = call('ZRANGE', leased and LEASED or DELAYED, 0, limit - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local due = leased and string.format('%.0f', lease_deadline(found[i + 1])) or found[i + 1]
    show(found[i], due)
  end
end
return result
