-- Tell that a process is there, and find out which are. Times are seconds by this server's clock.
-- KEYS: processes (a sorted set of their ids by when each was last there)
-- ARGV: id, s after which one that did not tell again is not there
-- Returns: 1 if this one was not there, the ids of all that are there, this one's among them
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
return {new, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf')}
