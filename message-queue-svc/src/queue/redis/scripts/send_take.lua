-- Stores messages for which a consumer waits here, and leases what there is to
-- it: one round trip rather than a bell and two.
-- KEYS: the queue's (keys.rs).
-- ARGV: 1 to 7 as taking.lua says; this replica's name, how many consumers it
--   has, 1 if one of them holds nothing, a random number from 0 to 999, 1 if this
--   replica is to take what waits as well; requests, as sending.lua says.
-- Returns: nil if the queue does not exist. Where send_take_plain.lua did it, one
--   string, which is read much quicker than a list: how many were stored (4 bytes), now,
--   when the leases end, when to ask again in ms (6 each), how many were leased as they
--   came (4), and the id of the last of these. Otherwise { what became of the requests, as
--   sending.lua says; what was taken, as taking.lua says }.
local take = begin_take(settings, quiet)

-- Where nothing waits, what comes is leased without going through a list. Those
-- who sent it have it, so it is not answered either.
local function direct(ready, sizes, stored)
  if was_empty or ARGV[12] ~= '1' then take.limit = share(stored, take.limit) end
  local count = 0
  while was_empty and sizes[count + 1] and take.leased < take.limit do
    if not lease_one(take, ready[count + 1], sizes[count + 1]) then break end
    count = count + 1
  end
  if count > 0 then take.result[4], take.result[5] = count, ready[count] end
  return count
end

local results = send(13, settings[6], settings[7], settings[8], direct)
if take.leased < take.limit and not take.full and (pushed or not was_empty) then fill(take) end
local taken = end_take(take)
if pushed and call('EXISTS', HIGH, HANDOFF, READY, LOW) == 0 then pushed = false end
if pushed and yields then taken[3] = YIELD_MS end
return finish({ results, taken })
