-- Prolong a slot; where it is lost, as this server has forgotten it or its holder was held up, it is taken once more.
-- KEYS: slots
-- ARGV: ticket, slot in s, ms for which slots are kept
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then
  redis.call('DEL', KEYS[1])
end
redis.call('ZADD', KEYS[1], text(clock('') + number(ARGV[2])), ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
