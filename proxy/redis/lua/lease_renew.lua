-- Prolong leases, those that are still held.
-- KEYS: leases
-- ARGV: lease in ms, token of each
for number, lease in ipairs(KEYS) do
  if redis.pcall('GET', lease) == ARGV[number + 1] then
    redis.call('PEXPIRE', lease, ARGV[1])
  end
end
return #KEYS
