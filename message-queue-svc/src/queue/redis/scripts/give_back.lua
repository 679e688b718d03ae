-- Ends leases other than by an ack.
-- KEYS: the queue's (keys.rs).
-- ARGV: a number that differs from call to call (for jitter), then for each
--   lease: entry, what happened (F failed, D make it a dead letter, U given
--   back unused), delay in ms ('' for the queue's backoff), reason.
-- Returns: a string with a digit for each: 1 given back, 2 it is a dead letter now, 0 the lease is
--   lost.
local settings = call('HMGET', META, 'max_attempts', 'backoff_initial', 'backoff_max',
  'backoff_multiplier')
local max_attempts = tonumber(settings[1] or 5)
local initial, longest = tonumber(settings[2] or 1000), tonumber(settings[3] or 300000)
local multiplier = tonumber(settings[4] or 2)
math.randomseed(tonumber(ARGV[1]))

local function backoff(failures)
  -- 0 times what has grown beyond all numbers is not a number.
  if initial == 0 then return 0 end
  local wait = math.min(longest, initial * multiplier ^ failures)
  return math.floor(wait * (1 + 0.2 * math.random()))
end

local answer = {}
for i = 2, #ARGV, 4 do
  local entry, what, delay, reason = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if call('ZREM', LEASED, entry) == 0 then
    answer[#answer + 1] = '0'
  else
    local died_before = died
    if what == 'U' then
      ends().give_back(entry, false, 0, max_attempts, nil, nil)
    elseif what == 'D' then
      ends().give_back(entry, true, 0, max_attempts, REJECTED, reason)
    else
      local _, _, failures = parse(entry)
      local wait = delay ~= '' and tonumber(delay) or backoff(failures)
      ends().give_back(entry, true, wait, max_attempts, nil, reason)
    end
    answer[#answer + 1] = died > died_before and '2' or '1'
    ring = true
  end
end
return finish(table.concat(answer))
