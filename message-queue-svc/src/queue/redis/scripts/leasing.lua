-- How leases are written down. TAKES has, for each taker, the number of its last take and
-- the score of what that leased, and in '#' how many takes leased something.

-- Leases of one take have a score that no others have: the deadline, with
-- thousandths in turn. Under it they are found when the answer was lost on its
-- way (untake.lua). A whole number: Redis handles these much quicker.
local function take_score(deadline, turn)
  return string.format('%d%03d', deadline, 1 + turn % 999)
end

-- Whether a take was given up before it came here: `noted` is what TAKES has for its taker.
local function was_given_up(noted, number)
  return noted and tonumber(string.match(noted, '^%d+')) >= tonumber(number)
end

-- Writes down leases of a take: its score, and an entry, for each of them.
local function write_leases(leases, taker, number, turn)
  call('HSET', TAKES, taker, number .. ' ' .. leases[1], '#', turn + 1)
  many('ZADD', LEASED, leases)
end
