-- Read a page, its listing's record, and what the asker lacks of its rows.
-- KEYS: page, record, head, rows, written
-- ARGV: the version of the rows that the asker knows
-- Returns: page, record, head (1: nothing new; '': none), rows
local head, rows = rows_since(ARGV[1], KEYS[3], KEYS[4], KEYS[5])
local known = redis.call('MGET', KEYS[1], KEYS[2])
return {known[1], known[2], head, rows}
