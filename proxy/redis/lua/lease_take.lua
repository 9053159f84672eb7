-- Take the lease of a question, unless somebody has it, and look once more what is known: he who had it last may
-- have landed since the last lookup.
-- KEYS: lease, the mark that the token has ended, page, record, head, rows, written
-- ARGV: token, lease in ms, the version of the rows that the asker knows
-- Returns: the holder's token and ms that it has left; to the holder also the page, the record, and what it lacks of
--          the rows, as page_look
if redis.call('EXISTS', KEYS[2]) == 1 then
  return {'', 0} -- to nobody: this comes too late
end
local holder = redis.pcall('GET', KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if type(holder) ~= 'string' or left < 0 then -- none; or something that is no lease, as it would never end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  holder, left = ARGV[1], tonumber(ARGV[2])
end
if holder ~= ARGV[1] then
  return {holder, left}
end
local head, rows = rows_since(ARGV[3], KEYS[5], KEYS[6], KEYS[7])
local known = redis.call('MGET', KEYS[3], KEYS[4])
return {holder, left, known[1], known[2], head, rows}
