-- Gives leases more time, from now.
-- KEYS: the queue's (keys.rs).
-- ARGV: for each lease: entry, ms ('' for the queue's lease).
-- Returns: a string with a digit for each: 1 extended, 0 the lease is lost.
local default = tonumber(call('HGET', META, 'lease') or 30000)
local answer = {}
for i = 1, #ARGV, 2 do
  if call('ZSCORE', LEASED, ARGV[i]) then
    local ends = now + (tonumber(ARGV[i + 1]) or default)
    call('ZADD', LEASED, string.format('%.0f', lease_score(ends)), ARGV[i])
    answer[#answer + 1] = '1'
  else
    answer[#answer + 1] = '0'
  end
end
return finish(table.concat(answer))
