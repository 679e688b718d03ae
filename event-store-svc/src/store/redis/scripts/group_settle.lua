-- Settles deliveries: acks, nacks, extends or gives back, each by its receipt.
--
-- KEYS, ARGV 1 to 3: see group_common.lua
-- ARGV  4 the items, numbers packed as a MessagePack array: kind, lease number, which epoch (from 1) of each
--       5 how many epochs  6… the epochs of the receipts; then the position of each item, at most 1,000; then
--       the arguments of those that have one
--   Kinds: 1 ack                                     4 extend (ms from now, "" the ack_timeout)
--          2 park (reason)                           5 give back unused: delivered again at once, and
--          3 retry (ms from now, "" the backoff;       not counted as a failure
--            then a space and the reason)            2, 3 and 4 have an argument
-- Returns nil when the topic is missing, 0 when the group is, else a number for each item:
--   0 its lease was lost, 1 done, 2 done by this lease before, 3 parked, else when the extended lease ends

local shape, epochs = cmsgpack.unpack(ARGV[4]), tonumber(ARGV[5])
local count, first = #shape / 3, 6 + epochs
local argument_at = first + count
local current
for i = 1, epochs do
  if ARGV[5 + i] == epoch then current = i end
end

-- What is known of the items, read once; what this call settles has no lease any more.
local tries = redis.call('HMGET', TRIES, unpack(ARGV, first, first + count - 1))
local ends = redis.call('ZMSCORE', LEASES, unpack(ARGV, first, first + count - 1))
local touched, removed = {}, {}

local replies = {}
local acked = 0
for i = 1, count do
  local kind, item_lease, position = shape[i * 3 - 2], shape[i * 3 - 1], ARGV[first + i - 1]
  local argument = ''
  if kind >= 2 and kind <= 4 then
    argument = ARGV[argument_at]
    argument_at = argument_at + 1
  end
  local known, leased = tries[i], ends[i]
  if touched[position] then
    known, leased = redis.call('HGET', TRIES, position), nil
  end
  local lease, failures = tries_of(known)
  local held = shape[i * 3] == current and lease == item_lease
  local reply = 0
  if held and leased and kind == 4 then
    reply = now + (argument ~= '' and tonumber(argument) or ack_timeout)
    redis.call('ZADD', LEASES, 'XX', number(reply), position)
  elseif held and leased and kind ~= 4 then
    local parked_before = parked
    reply = 1
    touched[position] = true
    removed[#removed + 1] = position
    if kind == 1 then
      finish(position, lease)
      acked = acked + 1
    elseif kind == 2 then
      park(position, lease, failures + 1, argument)
    elseif kind == 3 then
      local delay, reason = string.match(argument, '^(%d*) (.*)$')
      fail(position, lease, failures, delay ~= '' and now + tonumber(delay) or nil, reason)
    else
      redis.call('HSET', TRIES, position, number(lease) .. ' ' .. number(failures))
      queue(position, now)
    end
    if parked > parked_before then reply = 3 end
  elseif kind == 1 and shape[i * 3] == current and not leased and not redis.call('ZSCORE', RETRY, position) then
    -- Done already: by this very lease?
    local by = tonumber(redis.call('HGET', DONE, position) or 1)
    if by == item_lease then reply = 2 end
  end
  replies[i] = reply
end
if #removed > 0 then redis.call('ZREM', LEASES, unpack(removed)) end
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
