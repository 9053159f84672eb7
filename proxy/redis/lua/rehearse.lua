-- Try each command that scripts use; nothing of it is left.
-- KEYS: four keys that nobody has, of one slot
-- ARGV: channel
-- Returns: of each command that was refused its name and what was said, one after the other
local text, hash, set, log = unpack(KEYS)
local refused = {}
for _, command in ipairs({
  {'SET', text, 'x', 'PX', 1000}, {'GET', text}, {'GETRANGE', text, 0, 0}, {'MGET', text}, {'EXISTS', text},
  {'PTTL', text}, {'PEXPIRE', text, 1000}, {'TYPE', text}, {'TIME'}, {'PUBLISH', ARGV[1], 'x'},
  {'HSET', hash, 'f', 'x'}, {'HGET', hash, 'f'}, {'HMGET', hash, 'f'}, {'HGETALL', hash}, {'HVALS', hash},
  {'HDEL', hash, 'f'}, {'ZADD', set, 1, 'x'}, {'ZSCORE', set, 'x'}, {'ZCARD', set}, {'ZCOUNT', set, 0, 1},
  {'ZRANGEBYSCORE', set, 0, 1}, {'ZREMRANGEBYSCORE', set, 2, 3}, {'ZREM', set, 'x'}, {'XADD', log, '*', 'f', 'x'},
  {'XRANGE', log, '-', '+'}, {'XREVRANGE', log, '+', '-'}, {'DEL', text, hash, set, log},
}) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = command[1]
    refused[#refused + 1] = answer.err
  end
end
return refused
