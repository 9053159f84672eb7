-- Write a listing's rows, if nobody else has meanwhile and they are of the moment that its record tells.
-- KEYS: record, head, rows, written
-- ARGV: since (of the record), stamp, record's PX in ms, then as write_rows
-- Returns: 1, or 0 if they are not kept
local record = redis.pcall('GET', KEYS[1])
local since, stamp = '', ''
if type(record) == 'string' then
  since, stamp = string.match(record, '^(%d+) %d+ %d+ %d+ (.*)$')
end
if since ~= ARGV[1] or stamp ~= ARGV[2] then
  return 0
end
return write_rows(4, ARGV[3], KEYS[2], KEYS[3], KEYS[4])
