-- Prolong a lease, if it is still held.
-- KEYS: lease
-- ARGV: token, lease in ms
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
