-- Append an event to a credential's log, unless it is there already, and tell all replicas, with what it follows: who
-- has not heard of that one has missed something.
-- KEYS: log (a stream), mark that the event is there
-- ARGV: value, most events, ms for which the mark is kept, and the log, channel, log's name,
--       1 if the event is marked
-- Returns: the id of the one before (0-0: there is none) and its own; nothing if it is there already
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then
  redis.call('DEL', KEYS[1]) -- nothing, or something that is no log
end
if ARGV[7] == '1' and not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[3]) then
  return {}
end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local before = last[1] and last[1][1] or '0-0'
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'e', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], table.concat({'event', ARGV[6], before, id, ARGV[1]}, ' '))
return {before, id}
