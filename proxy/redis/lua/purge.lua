-- Note a purge, and tell all of it.
-- KEYS: purges
-- ARGV: what, when (Unix seconds), ms for which purges are kept, channel
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1]) -- something else than purges must not keep them out for good
end
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
if not known or known < tonumber(ARGV[2]) then -- else of a replica whose clock is behind, or told late
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], 'purged ' .. ARGV[2] .. ' ' .. ARGV[1]) -- all of it: a look into Redis can fail
return 1
