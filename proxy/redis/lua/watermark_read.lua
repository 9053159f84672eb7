-- Read the watermarks of one kind.
-- KEYS: watermarks
-- Returns: extent and when (Unix seconds), by turns
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  return {} -- something else must not look like a Redis that cannot be asked: that is tried again
end
return redis.call('HGETALL', KEYS[1])
