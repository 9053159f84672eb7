-- Take or prolong the lease of whoever is subscribed to a credential's events, unless another has it, or the hub is to
-- be left in peace as it has none.
-- KEYS: lease, backoff
-- ARGV: token, lease in ms
-- Returns: 1 if the lease is held now, else 0; ms left of the backoff, 0 if there is none
local backoff = redis.call('PTTL', KEYS[2])
if backoff > 0 then
  return {0, backoff}
end
local holder = redis.pcall('GET', KEYS[1])
if type(holder) ~= 'string' or holder == ARGV[1] or redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {1, 0}
end
return {0, 0}
