-- Tell that a process is there, and find out which are; and what time it is. Times are seconds by this server's clock.
-- KEYS: processes (a sorted set of their ids by when each was last there), the latest time (clock.HybridClock)
-- ARGV: id, s after which one that did not tell again is not there, the asker's time, one that none can be, ms for which
--       the latest is kept
-- Returns: the latest time of any process, 1 if this one was not there, the ids of all that are there, this one's among
--          them
local now, gone = clock(''), number(ARGV[2])
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then
  redis.call('DEL', KEYS[1]) -- nothing, or something that is no such set
end
-- First, as a server that is full refuses a script's first write if that takes room, and none after it: who asks the gate
-- is to be counted.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(now - gone))
local new = redis.call('ZADD', KEYS[1], text(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. text(now), '+inf') -- told before this server's clock stepped back
redis.call('PEXPIRE', KEYS[1], math.ceil(1000 * gone))
local latest = redis.pcall('GET', KEYS[2])
if type(latest) ~= 'string' or not (number(latest) > number(ARGV[3]) and number(latest) < number(ARGV[4])) then
  latest = ARGV[3]
end
redis.call('SET', KEYS[2], latest, 'PX', ARGV[5])
return {latest, new, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf')}
