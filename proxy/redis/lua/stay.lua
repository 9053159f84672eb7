-- Prolong a slot, if it is still in the set: whoever else asks may have removed it when its time was over.
-- KEYS: slots
-- ARGV: ticket, slot in s, ms for which slots are kept
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' or not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], string.format('%.17g', tonumber(time[1]) + tonumber(time[2]) / 1e6 + ARGV[2]), ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
