-- Leasing messages, for the scripts that take: high priority first, then what
-- was handed off, then normal and low ones. ARGV 1 to 7: how many at most, how
-- many bytes at most (but one message always), lease in ms ('' for the queue's),
-- '' or this replica's name, and how many consumers it has for the queue (with a
-- name: to be written down), who takes, and which of their takes this is (a
-- higher number each time).
-- Answers nil if the queue does not exist. Otherwise { time (ms), deadline of
-- the leases (ms), when to ask again if nothing happens before (ms from now, 0:
-- never; only if fewer than wanted were leased), entry, record, … }.

-- Leases of one take have a score that no others have: the deadline, with
-- thousandths in turn. Under it they are found when the answer was lost on its
-- way (untake.lua). A whole number: Redis handles these much quicker.
local function take_score(deadline, turn)
  return string.format('%.0f', lease_score(deadline) + 1 + turn % 999)
end

-- `share` makes fewer of what is wanted, where others should have some.
local function take(share)
  local wanted, max_bytes, taker, number = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[6], ARGV[7]
  local settings = call('HMGET', META, 'created', 'paused', 'lease', 'max_in_flight', 'max_rate')
  if not settings[1] then return false end
  if ARGV[4] ~= '' then
    call('HSET', CONSUMERS, ARGV[4], ARGV[5] .. ' ' .. string.format('%.0f', now + 30000))
  end
  local more, due = false, first_due()
  if is_due(due) then
    more = ends().sweep(100)
    due = first_due()
  end
  local deadline = now + tonumber(ARGV[3] ~= '' and ARGV[3] or settings[3] or 30000)
  local result = { string.format('%.0f', now), string.format('%.0f', deadline), 0 }
  local noted = call('HMGET', TAKES, taker, '#')
  -- Resuming a queue rings the bell. And a take may have been given up before it came here.
  local given_up = noted[1] and tonumber(string.match(noted[1], '^%d+')) >= tonumber(number)
  if settings[2] or given_up then return result end

  local limit, ask_again = share and share(wanted) or wanted, nil
  local max_in_flight = tonumber(settings[4] or 0)
  if max_in_flight > 0 then
    limit = math.min(limit, math.max(0, max_in_flight - call('ZCARD', LEASED)))
  end
  local rate, tokens = tonumber(settings[5] or 0), 0
  if rate > 0 then
    local burst, saved = math.max(1, rate), call('HMGET', META, 'rate_tokens', 'rate_at')
    local since = tonumber(saved[2] or 0)
    tokens = math.min(burst, tonumber(saved[1] or burst) + math.max(0, now - since) * rate / 1000)
    if tokens < wanted then ask_again = math.ceil((math.floor(tokens) + 1 - tokens) * 1000 / rate) end
    limit = math.min(limit, math.floor(tokens))
  end

  local score = take_score(deadline, tonumber(noted[2] or 0))
  local uses_again, uses_expiry = call('EXISTS', AGAIN) == 1, due[3] ~= nil
  local leases, leased, bytes, ghost, full = {}, 0, 0, 0, false

  -- Leases from a popped batch; answers from where on it was too much.
  local function lease(entries)
    local ids = entries
    if uses_again then
      ids = {}
      for i, entry in ipairs(entries) do ids[i] = string.sub(entry, 1, ID) end
    end
    local records = call('HMGET', BODY, unpack(ids))
    local again = uses_again and call('HMGET', AGAIN, unpack(ids))
    for i, entry in ipairs(entries) do
      local record = records[i]
      if not record or again and (again[i] and ids[i] .. '.' .. again[i] or ids[i]) ~= entry then
        ghost = ghost + 1
      else
        local expires = 0
        if uses_expiry then expires = struct.unpack('>I6', record, 7) end
        if expires > 0 and expires <= now then
          local _, generation, failures = parse(entry)
          ends().to_dead(ids[i], generation, failures, record, EXPIRED, nil)
        else
          if leased > 0 and bytes + #record > max_bytes then return i end
          bytes = bytes + #record
          leased = leased + 1
          leases[2 * leased - 1] = score
          leases[2 * leased] = entry
          result[2 + 2 * leased] = entry
          result[3 + 2 * leased] = record
        end
      end
    end
  end

  local lists = { READY }
  if call('EXISTS', HIGH, HANDOFF, LOW) > 0 then lists = { HIGH, HANDOFF, READY, LOW } end
  for _, list in ipairs(lists) do
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

  if leased > 0 then
    call('HSET', TAKES, taker, number .. ' ' .. score, '#', tonumber(noted[2] or 0) + 1)
    many('ZADD', LEASED, leases)
    due[1] = math.min(due[1] or deadline, deadline)
  end
  ghosts(-ghost)
  if rate > 0 then
    call('HSET', META, 'rate_tokens', tostring(tokens - leased), 'rate_at', now)
  end
  if leased < wanted then
    local next = next_due(due)
    if more or full then next = 1 end
    if ask_again and (next == 0 or ask_again < next) then next = ask_again end
    result[3] = next
  end
  return result
end
