-- Note a watermark, and tell all of it.
-- KEYS: watermarks of one kind
-- ARGV: extent, when (Unix seconds), ms for which they are kept, channel, topic
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1]) -- something else must not keep them out for good
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]))
if known and known >= tonumber(ARGV[2]) then
  return 1 -- told late, or again by many at once, as a server that lost it is: all who listen have heard of it
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local all = redis.call('HGETALL', KEYS[1])
for at = 2, #all, 2 do -- those that nothing is left of which they cover: each one more prolongs the life of all
  if (tonumber(all[at]) or 0) < ARGV[2] - ARGV[3] / 1000 then
    redis.call('HDEL', KEYS[1], all[at - 1])
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5] .. ' ' .. ARGV[2] .. ' ' .. ARGV[1]) -- whole: a look into Redis can fail
return 1
