#!lua flags=allow-oom
-- Removes the oldest events of a topic, one bounded step.
--
-- KEYS  1 log  2 meta  3… s:<subject>, each subject among the events once
-- ARGV  1 position of the oldest event  2 position of the last event to go  3 how many events go
--       4 their bytes  5 sequence of the last one  6 how often groups had changed when it was decided ("": no
--       matter)  7… how many events of each subject, as in KEYS
-- Returns 1, or 0 when the log no longer begins there (another replica was faster) or groups have changed.

local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not oldest or oldest[1] ~= ARGV[1] then return 0 end
if ARGV[6] ~= '' and (redis.call('HGET', KEYS[2], 'groups_changed') or '0') ~= ARGV[6] then return 0 end
local ms, n = string.match(ARGV[2], '^(%d+)-(%d+)$')
redis.call('XTRIM', KEYS[1], 'MINID', '=', ms .. '-' .. string.format('%.0f', tonumber(n) + 1))
redis.call('HINCRBY', KEYS[2], 'bytes', -tonumber(ARGV[4]))
redis.call('HSET', KEYS[2], 'trimmed', ARGV[2], 'trimmed_sequence', ARGV[5])
for i = 3, #KEYS do redis.call('LPOP', KEYS[i], ARGV[4 + i]) end
return 1
