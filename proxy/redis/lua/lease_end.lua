-- Give up a lease, and tell all who wait what became of it. A token that may not have come yet, as Redis was asked for
-- its lease and did not answer, will have none when it does.
-- KEYS: lease, the mark that the token has ended
-- ARGV: token, channel, news of the landing, ms to keep the mark (0: the token has come)
if ARGV[4] ~= '0' then
  redis.pcall('SET', KEYS[2], '', 'PX', ARGV[4]) -- a Redis that is full still gives up the lease
end
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return redis.call('PUBLISH', ARGV[2], ARGV[3])
