-- Give up a lease, and tell all who wait what became of it.
-- KEYS: lease
-- ARGV: token, channel, news of the landing
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return redis.call('PUBLISH', ARGV[2], ARGV[3])
