-- How messages come to an end, or back: made when it is needed, because most
-- calls need nothing of it. Behind ordering.lua.
local made
local function ends()
  if made then return made end

  -- Takes a message that nobody has out of where it is. In a LIST its entry stays.
  local function unlist(id, entry, record)
    if call('ZREM', DELAYED, entry) == 1 then return end
    local _, _, key = head(record)
    if not (is_ordered(id) and leave_waiting(id, key)) then ghosts(1) end
  end

  -- Forgets a message that is no longer in any list or set but EXPIRY and WAITING.
  local function forget(id, record)
    call('HDEL', BODY, id)
    call('HDEL', AGAIN, id)
    call('HDEL', ERRORS, id)
    call('ZREM', EXPIRY, id)
    if is_ordered(id) then
      local _, _, key = head(record)
      if not leave_waiting(id, key) then release_key(key, id) end
    end
  end

  local function drop_dead(ids)
    if #ids == 0 then return end
    many('ZREM', DEAD, ids)
    many('HDEL', DEADREC, ids)
  end

  -- A dead letter's record is: dead at (6, ms), reason (1), failures (4),
  -- generation (4), length (2) and last error, and then the message's record.
  local function to_dead(id, generation, failures, record, reason, problem)
    local said = problem or call('HGET', ERRORS, id) or ''
    local number = call('HINCRBY', META, 'dead_seq', 1)
    call('HSET', DEADREC, id,
      struct.pack('>I6BI4I4H', now, reason, failures, generation, #said) .. said .. record)
    call('ZADD', DEAD, number, id)
    died = died + 1
    forget(id, record)
    local above = call('ZCARD', DEAD) - DEAD_MAX
    if above > 0 then drop_dead(call('ZRANGE', DEAD, 0, math.min(above, 100) - 1)) end
  end

  -- A lease ended without an ack (and was taken out of LEASED). `failed`:
  -- whether that counts as an attempt; `delay` in ms; `reason`: make it a dead
  -- letter at once; `problem`: what to remember.
  local function give_back(entry, failed, delay, max_attempts, reason, problem)
    local id, generation, failures = parse(entry)
    local record = call('HGET', BODY, id)
    if not record then return end
    generation = generation + 1
    if failed then failures = failures + 1 end
    local _, expires = head(record)
    if reason then
      to_dead(id, generation, failures, record, reason, problem)
    elseif failed and failures >= max_attempts then
      to_dead(id, generation, failures, record, MAX_ATTEMPTS, problem)
    elseif expires > 0 and expires <= now then
      to_dead(id, generation, failures, record, EXPIRED, problem)
    else
      local again = string.format('%d.%d', generation, failures)
      call('HSET', AGAIN, id, again)
      if problem and problem ~= '' then call('HSET', ERRORS, id, problem) end
      if delay > 0 then
        delay_until(id .. '.' .. again, now + delay)
      else
        push(id .. '.' .. again, true)
      end
    end
  end

  -- Makes expired leases, due delays and expired messages what they are now: at
  -- most `limit` of each. Answers whether there may be more.
  local function sweep(limit)
    local lapsed = call('ZRANGE', LEASED, '-inf', string.format('%.0f', lease_score(now) + 999), 'BYSCORE', 'LIMIT', 0, limit)
    if #lapsed > 0 then
      many('ZREM', LEASED, lapsed)
      local max_attempts = tonumber(call('HGET', META, 'max_attempts') or 5)
      for _, entry in ipairs(lapsed) do
        give_back(entry, true, 0, max_attempts, nil, 'the lease expired')
      end
    end
    local due = call('ZRANGE', DELAYED, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
    if #due > 0 then
      many('ZREM', DELAYED, due)
      -- One that failed before has waited for its turn already.
      for _, entry in ipairs(due) do push(entry, #entry > ID) end
    end
    local expired = call('ZRANGE', EXPIRY, '-inf', now, 'BYSCORE', 'LIMIT', 0, limit)
    for _, id in ipairs(expired) do
      local entry = current(id)
      local record = call('HGET', BODY, id)
      local lease = record and call('ZSCORE', LEASED, entry)
      if not record then
        call('ZREM', EXPIRY, id)
      elseif lease then
        -- Being handled: looked at again when that should have ended.
        call('ZADD', EXPIRY, math.max(lease_deadline(lease), now + 1000), id)
      else
        unlist(id, entry, record)
        local _, generation, failures = parse(entry)
        to_dead(id, generation, failures, record, EXPIRED, nil)
      end
    end
    return #lapsed == limit or #due == limit or #expired == limit
  end

  made = {
    unlist = unlist, forget = forget, drop_dead = drop_dead, to_dead = to_dead, give_back = give_back,
    sweep = sweep,
  }
  return made
end
