-- When something is to be looked at.

-- When the first lease ends, the first delayed message is due and the first one
-- expires, in ms, as far as there are any. `quiet`: nothing is delayed or expires.
local function first_due(quiet)
  local due = { tonumber(call('ZRANGE', LEASED, 0, 0, 'WITHSCORES')[2]) }
  if due[1] then due[1] = lease_deadline(due[1]) end
  if not quiet then
    due[2] = tonumber(call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')[2])
    due[3] = tonumber(call('ZRANGE', EXPIRY, 0, 0, 'WITHSCORES')[2])
  end
  return due
end

local function is_due(due)
  return due[1] and due[1] <= now or due[2] and due[2] <= now or due[3] and due[3] <= now
end

-- When there is something to sweep next, in ms from now; 0: nothing.
local function next_due(due)
  local soonest = math.huge
  for i = 1, 3 do soonest = math.min(soonest, due[i] or math.huge) end
  return soonest < math.huge and math.max(1, math.ceil(soonest - now)) or 0
end
