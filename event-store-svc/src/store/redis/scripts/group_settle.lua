-- Settles deliveries: acks, nacks, extends or gives back, each by its receipt.
--
-- KEYS, ARGV 1 to 3: see group_common.lua
-- ARGV  4… items of five: kind, position, epoch, lease number, argument, each of the call at most 1,000
--          a ack (argument "")      p park (reason)         e extend (ms from now, "" the ack_timeout)
--          r retry (ms from now, "" the backoff; then a space and the reason)
--          g give back unused: delivered again at once, not counted as a failure
-- Returns nil when the topic is missing, 0 when the group is, else for each item
--   {1, lease end (extend) or 0} or {0, 0} when its lease was lost.

local replies = {}
local acked = 0
for i = 4, #ARGV, 5 do
  local kind, position, item_epoch, item_lease, argument = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4]
  local lease, failures = tries_of(redis.call('HGET', TRIES, position))
  local held = item_epoch == epoch and lease == item_lease
  local reply = {0, 0}
  if held and kind == 'e' then
    local ends = now + (argument ~= '' and tonumber(argument) or ack_timeout)
    -- Answers how many changed: one that ends at the same millisecond is still held.
    if redis.call('ZSCORE', LEASES, position) then
      redis.call('ZADD', LEASES, 'XX', ends, position)
      reply = {1, ends}
    end
  elseif held and redis.call('ZREM', LEASES, position) == 1 then
    reply = {1, 0}
    if kind == 'a' then
      finish(position, lease)
      acked = acked + 1
    elseif kind == 'p' then
      park(position, lease, failures + 1, argument)
    elseif kind == 'r' then
      local delay, reason = string.match(argument, '^(%d*) (.*)$')
      fail(position, lease, failures, delay ~= '' and now + tonumber(delay) or nil, reason)
    else
      redis.call('HSET', TRIES, position, number(lease) .. ' ' .. number(failures))
      queue(position, now)
    end
  elseif kind == 'a' and item_epoch == epoch and not redis.call('ZSCORE', RETRY, position)
    and not redis.call('ZSCORE', LEASES, position) then
    -- Done already: by this very lease?
    local by = tonumber(redis.call('HGET', DONE, position) or 1)
    if by == item_lease then reply = {1, 0} end
  end
  replies[#replies + 1] = reply
end
if acked > 0 then
  local slot = math.floor(now / 5000)
  local field = tostring(slot % 16)
  local kept = redis.call('HGET', ACKED, field)
  local at, count = string.match(kept or '', '^(%d+) (%d+)$')
  if at == number(slot) then acked = acked + tonumber(count) end
  redis.call('HSET', ACKED, field, number(slot) .. ' ' .. number(acked))
end
conclude()
return replies
