-- Leases messages: high priority first, then what was handed off, then normal
-- and low ones.
-- KEYS: the queue's (keys.rs).
-- ARGV: how many at most, how many bytes at most (but one message always),
--   lease in ms ('' for the queue's), then '' or this replica's name and how
--   many consumers it has for the queue.
-- Returns: nil if the queue does not exist. Otherwise { time (ms), deadline of
--   the leases (ms), when to ask again if nothing happens before (ms from now,
--   0: never; only if fewer than wanted were leased), entry, record, … }.
local wanted, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
local settings = call('HMGET', META, 'created', 'paused', 'lease', 'max_in_flight', 'max_rate',
  'rate_tokens', 'rate_at')
if not settings[1] then return false end
local replica, consumers = ARGV[4], ARGV[5]
if replica ~= '' then
  call('HSET', CONSUMERS, replica, consumers .. ' ' .. string.format('%.0f', now + 30000))
end
local more = sweep(100)
local deadline = now + tonumber(ARGV[3] ~= '' and ARGV[3] or settings[3] or 30000)
local result = { string.format('%.0f', now), string.format('%.0f', deadline), 0 }
if settings[2] then
  -- Resuming rings the bell.
  return finish(result)
end

local limit, ask_again = wanted, nil
local max_in_flight = tonumber(settings[4] or 0)
if max_in_flight > 0 then
  limit = math.min(limit, math.max(0, max_in_flight - call('ZCARD', LEASED)))
end
local rate, tokens = tonumber(settings[5] or 0), 0
if rate > 0 then
  local burst = math.max(1, rate)
  local since = tonumber(settings[7] or 0)
  tokens = math.min(burst, tonumber(settings[6] or burst) + math.max(0, now - since) * rate / 1000)
  if tokens < wanted then ask_again = math.ceil((math.floor(tokens) + 1 - tokens) * 1000 / rate) end
  limit = math.min(limit, math.floor(tokens))
end

local uses_again = call('EXISTS', AGAIN) == 1
local uses_expiry = call('EXISTS', EXPIRY) == 1
local leases, leased, bytes, ghost, full = {}, 0, 0, 0, false

-- Leases from a popped batch; answers from where on it was too much.
local function lease(entries)
  local ids = {}
  for i, entry in ipairs(entries) do ids[i] = string.sub(entry, 1, ID) end
  local records = call('HMGET', BODY, unpack(ids))
  local again = uses_again and call('HMGET', AGAIN, unpack(ids))
  for i, entry in ipairs(entries) do
    local record = records[i]
    local now_is = again and again[i] and (ids[i] .. '.' .. again[i]) or ids[i]
    if not record or now_is ~= entry then
      ghost = ghost + 1
    else
      local _, expires = nil, 0
      if uses_expiry then _, expires = struct.unpack('>I6I6', record) end
      if expires > 0 and expires <= now then
        local _, generation, failures = parse(entry)
        to_dead(ids[i], generation, failures, record, EXPIRED, nil)
      else
        if leased > 0 and bytes + #record > max_bytes then return i end
        bytes = bytes + #record
        leased = leased + 1
        leases[#leases + 1] = deadline
        leases[#leases + 1] = entry
        result[#result + 1] = entry
        result[#result + 1] = record
      end
    end
  end
end

for _, list in ipairs({ HIGH, HANDOFF, READY, LOW }) do
  local steps = 0
  while leased < limit and not full and steps < 200 do
    -- Bodies may be large: few at first, then as many as should fit.
    local chunk = 8
    if leased > 0 then chunk = math.floor((max_bytes - bytes) * leased / bytes) + 1 end
    chunk = math.min(chunk, limit - leased, 1000)
    local entries = call('RPOP', list, chunk)
    if not entries then break end
    local left = lease(entries)
    if left then
      for i = #entries, left, -1 do call('RPUSH', list, entries[i]) end
      full = true
    end
    if #entries < chunk then break end
    steps = steps + 1
  end
  -- Ghosts only, so far: the rest is for the next call.
  if steps == 200 then more = true end
end

if leased > 0 then many('ZADD', LEASED, leases) end
ghosts(-ghost)
if rate > 0 then
  call('HSET', META, 'rate_tokens', tostring(tokens - leased), 'rate_at', now)
end
if leased < wanted then
  local due = next_sweep()
  if more or full then due = 1 end
  if ask_again and (due == 0 or ask_again < due) then due = ask_again end
  result[3] = due
end
return finish(result)
