-- Leasing messages, for the scripts that take: high priority first, then what
-- was handed off, then normal and low ones. ARGV 1 to 7: how many at most, how
-- many bytes at most (but one message always), lease in ms ('' for the queue's),
-- '' or this replica's name, and how many consumers it has for the queue (with a
-- name: to be written down), who takes, and which of their takes this is (a
-- higher number each time).
-- Answers nil if the queue does not exist. Otherwise { time (ms), deadline of
-- the leases (ms), when to ask again if nothing happens before (ms from now, 0:
-- never; only if fewer than wanted were leased), how many of the messages that
-- this call stored were leased as they came (send_take.lua), the id of the last
-- of these, how many became dead letters, entry, record, … }.

-- What a take may lease, before it does. `settings` are those of a queue that
-- exists: created, paused, lease, max_in_flight, max_rate. `quiet`: nothing is
-- delayed or expires.
local function begin_take(settings, quiet)
  if ARGV[4] ~= '' then
    call('HSET', CONSUMERS, ARGV[4], ARGV[5] .. ' ' .. string.format('%.0f', now + 30000))
  end
  local take = {
    wanted = tonumber(ARGV[1]), max_bytes = tonumber(ARGV[2]), taker = ARGV[6], number = ARGV[7],
    more = false, due = first_due(quiet), rate = tonumber(settings[5] or 0), tokens = 0,
    leases = {}, leased = 0, ordered = {}, bytes = 0, ghosts = 0, full = false,
  }
  if is_due(take.due) then
    take.more = rare().ends().sweep(100)
    take.due = first_due()
  end
  take.deadline = now + tonumber(ARGV[3] ~= '' and ARGV[3] or settings[3] or 30000)
  take.result = { now, take.deadline, 0, 0, '', 0 }
  take.size = 6
  local noted = call('HMGET', TAKES, take.taker, '#')
  take.turn = tonumber(noted[2] or 0)
  take.score = take_score(take.deadline, take.turn)
  take.limit = take.wanted
  -- Resuming a queue rings the bell. And a take may have been given up before it came here.
  take.stopped = settings[2] or was_given_up(noted[1], take.number)
  if take.stopped then
    take.limit = 0
    return take
  end
  local max_in_flight = tonumber(settings[4] or 0)
  if max_in_flight > 0 then
    take.limit = math.min(take.limit, math.max(0, max_in_flight - call('ZCARD', LEASED)))
  end
  if take.rate > 0 then
    local burst, saved = math.max(1, take.rate), call('HMGET', META, 'rate_tokens', 'rate_at')
    local since = tonumber(saved[2] or 0)
    local tokens = tonumber(saved[1] or burst) + math.max(0, now - since) * take.rate / 1000
    tokens = math.min(burst, tokens)
    if tokens < take.wanted then
      take.ask_again = math.ceil((math.floor(tokens) + 1 - tokens) * 1000 / take.rate)
    end
    take.tokens = tokens
    take.limit = math.min(take.limit, math.floor(tokens))
  end
  return take
end

-- Whether there is room for one more, of so many bytes: then it is leased.
local function lease_one(take, entry, size)
  if take.leased > 0 and take.bytes + size > take.max_bytes then
    take.full = true
    return false
  end
  take.bytes = take.bytes + size
  take.leased = take.leased + 1
  take.leases[2 * take.leased - 1] = take.score
  take.leases[2 * take.leased] = entry
  return true
end

-- Leases from the lists.
local function fill(take)
  local uses_again, uses_expiry = call('EXISTS', AGAIN) == 1, take.due[3] ~= nil
  local result, size = take.result, take.size

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
        take.ghosts = take.ghosts + 1
      else
        local expires = 0
        if uses_expiry then expires = struct.unpack('>I6', record, 7) end
        if expires > 0 and expires <= now then
          local _, generation, failures = rare().parse(entry)
          rare().ends().to_dead(string.sub(entry, 1, ID), generation, failures, record, EXPIRED, nil)
        else
          if not lease_one(take, entry, #record) then return i end
          local flag = string.byte(entry, ID)
          if flag ~= 48 and flag ~= 50 and rare().is_ordered(entry) then
            take.ordered[#take.ordered + 1] = string.sub(entry, 1, ID)
          end
          result[size + 1] = entry
          result[size + 2] = record
          size = size + 2
        end
      end
    end
  end

  local lists = { READY }
  if call('EXISTS', HIGH, HANDOFF, LOW) > 0 then lists = { HIGH, HANDOFF, READY, LOW } end
  for _, list in ipairs(lists) do
    local steps = 0
    while take.leased < take.limit and not take.full and steps < 200 do
      -- Bodies may be large: few at first, then as many as should fit.
      local chunk = 8
      if take.bytes > 0 then
        chunk = math.floor((take.max_bytes - take.bytes) * take.leased / take.bytes) + 1
      end
      chunk = math.max(1, math.min(chunk, take.limit - take.leased, 1000))
      local entries = call('RPOP', list, chunk)
      if not entries then break end
      local left = lease(entries)
      if left then
        for i = #entries, left, -1 do call('RPUSH', list, entries[i]) end
      end
      if #entries < chunk then break end
      steps = steps + 1
    end
    -- Ghosts only, so far: the rest is for the next call.
    if steps == 200 then take.more = true end
  end
  take.size = size
end

-- Writes down what was leased, and answers it.
local function end_take(take)
  take.result[6] = died
  if take.stopped then return take.result end
  local due, leased = take.due, take.leased
  if leased > 0 then
    write_leases(take.leases, take.taker, take.number, take.turn)
    if #take.ordered > 0 then many('ZREM', SINCE, take.ordered) end
    due[1] = math.min(due[1] or take.deadline, take.deadline)
  end
  if take.ghosts > 0 then rare().ghosts(-take.ghosts) end
  if take.rate > 0 then
    call('HSET', META, 'rate_tokens', tostring(take.tokens - leased), 'rate_at', now)
  end
  if leased < take.wanted then
    local soonest = next_due(due)
    if take.more or take.full then soonest = 1 end
    if take.ask_again and (soonest == 0 or take.ask_again < soonest) then
      soonest = take.ask_again
    end
    take.result[3] = soonest
  end
  return take.result
end
