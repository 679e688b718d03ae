-- Gives back what a take leased whose answer was lost: nobody has it. A take that
-- was given up and comes later leases nothing.
-- KEYS: the queue's (keys.rs).
-- ARGV: who took, the number of the take.
-- Returns: how many became dead letters, because they had expired.
local taker, number = ARGV[1], tonumber(ARGV[2])
local noted = call('HGET', TAKES, taker)
local last, score = string.match(noted or '0 0', '^(%d+) (.+)$')
if tonumber(last) > number then return died end
local leased = {}
if tonumber(last) == number then
  leased = call('ZRANGE', LEASED, score, score, 'BYSCORE', 'LIMIT', 0, 1000)
end
call('HSET', TAKES, taker, string.format('%.0f -%.0f', number, lease_score(now)))
if #leased > 0 then
  many('ZREM', LEASED, leased)
  -- Each goes in front of those before it: the oldest comes last.
  table.sort(leased, function(a, b) return a > b end)
  for _, entry in ipairs(leased) do ends().give_back(entry, false, 0, 0, nil, nil) end
end
return finish(died)
