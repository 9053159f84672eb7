-- Give up the lease of whoever is subscribed to a credential's events.
-- KEYS: lease, backoff
-- ARGV: token, ms for which nobody is to take it, as the hub has no events (0: anybody may)
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
if ARGV[2] ~= '0' then
  redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
end
return 1
