-- The common case of send_take.lua, in front of what the others need: nothing waits, nothing
-- is due, and nothing but consumers limits what is delivered.
local settings = call('HMGET', META, 'created', 'paused', 'lease', 'max_in_flight', 'max_rate',
  'retention', 'max_messages', 'dedup_window')
if not settings[1] then return false end
local quiet = call('EXISTS', HIGH, HANDOFF, READY, LOW, DELAYED, EXPIRY) == 0
local was_empty = quiet or call('EXISTS', HIGH, HANDOFF, READY, LOW) == 0

-- How long what is left to others is theirs.
local YIELD_MS = 10

-- Consumers of other replicas get their part of what came, by their number: this
-- replica takes its own, at most `limit`. One that holds nothing takes one message
-- in any case: nobody could handle it sooner.
local function share(stored, limit)
  if call('HLEN', CONSUMERS) < 2 then return limit end
  local own, others = tonumber(ARGV[9]), 0
  local seen = call('HGETALL', CONSUMERS)
  for i = 1, #seen, 2 do
    local n, ends = string.match(seen[i + 1], '^(%d+) (%d+)$')
    if seen[i] ~= ARGV[8] and tonumber(ends) > now then others = others + tonumber(n) end
  end
  if others == 0 then return limit end
  local part = math.floor(stored * own / (own + others) + tonumber(ARGV[11]) / 1000)
  if ARGV[10] == '1' then part = math.max(part, 1) end
  if part >= limit then return limit end
  yields = ARGV[8]
  return part
end

-- What comes is leased without a list, as far as there is room. Left for any other case.
repeat
  local limits = settings[2] or settings[4] or settings[5] or settings[7]
  if limits or not was_empty or ARGV[4] ~= '' then break end
  local due = first_due(quiet)
  if is_due(due) then break end
  local noted = call('HMGET', TAKES, ARGV[6], '#')
  if was_given_up(noted[1], ARGV[7]) then break end
  local ids, bodies, expiring = plain(13, settings[6])
  if not ids then break end

  local limit, max_bytes = share(#ids, tonumber(ARGV[1])), tonumber(ARGV[2])
  local leased, bytes = 0, 0
  while leased < limit and ids[leased + 1] do
    bytes = bytes + #bodies[2 * leased + 2]
    if leased > 0 and bytes > max_bytes then break end
    leased = leased + 1
  end
  store_plain(ids, bodies, expiring)
  local deadline = now + tonumber(ARGV[3] ~= '' and ARGV[3] or settings[3] or 30000)
  if leased > 0 then
    local leases, turn = {}, tonumber(noted[2] or 0)
    local score = take_score(deadline, turn)
    for i = 1, leased do leases[2 * i - 1], leases[2 * i] = score, ids[i] end
    write_leases(leases, ARGV[6], ARGV[7], turn)
    due[1] = math.min(due[1] or deadline, deadline)
  end

  local again = 0
  if leased < tonumber(ARGV[1]) then
    -- No room for the bytes of the next one: the rest is for the next call.
    local full = leased < limit and leased < #ids
    again = full and 1 or next_due(due)
  end
  if leased < #ids then
    many('LPUSH', READY, { unpack(ids, leased + 1) })
    pushed = true
    if yields then again = YIELD_MS end
  end
  local head = struct.pack('>I4I6I6I6I4', #ids, now, deadline, again, leased)
  return finish(head .. (ids[leased] or ''))
until true
