-- Begins scripts that read or write a listing's rows: its head, a hash of rows, and a sorted set of their ids by the
-- number of the version in which each was written.
local function is(kind, key)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

-- The head and its version; the empty string, where there is none, or something else in the place of its rows.
local function read_head(head_key, rows_key, written_key)
  local head = redis.pcall('GET', head_key)
  if type(head) ~= 'string' or not is('hash', rows_key) or not is('zset', written_key) then
    return '', ''
  end
  return head, string.match(head, '^(%d+%.%x+) ') or ''
end

-- What somebody lacks who knows the version `known`: 1 and nothing, if that is the latest; the empty string, if there
-- is no listing; else its head, and the rows written since or, to those who know of another lineage, all.
local function rows_since(known, head_key, rows_key, written_key)
  local head, version = read_head(head_key, rows_key, written_key)
  if version == '' then
    return '', {}
  end
  if version == known then
    return 1, {}
  end
  local number, lineage = string.match(known, '^(%d+)%.(%x+)$')
  if lineage ~= string.match(version, '%.(%x+)$') then
    return head, redis.call('HVALS', rows_key)
  end
  local rows, ids = {}, redis.call('ZRANGEBYSCORE', written_key, '(' .. number, '+inf')
  for _, id in ipairs(ids) do
    rows[#rows + 1] = redis.call('HGET', rows_key, id) or ''
  end
  return head, rows
end

-- Put a listing in the place of the version that it was computed on; 0 if that is no longer the latest.
-- ARGV from `at` on: expected version, whole (0 or 1), head, number of rows, id and row of each, ids that go
local function write_rows(at, milliseconds, head_key, rows_key, written_key)
  local _, version = read_head(head_key, rows_key, written_key)
  if version ~= ARGV[at] then
    return 0
  end
  if ARGV[at + 1] == '1' then
    redis.call('DEL', rows_key, written_key)
  elseif redis.call('EXISTS', rows_key, written_key) < 2 then
    redis.call('DEL', head_key) -- evicted: what has changed is no use without what has not
    return 0
  end
  local number, last = string.match(ARGV[at + 2], '^(%d+)'), at + 3 + 2 * tonumber(ARGV[at + 3])
  for place = at + 4, last, 2 do
    redis.call('HSET', rows_key, ARGV[place], ARGV[place + 1])
    redis.call('ZADD', written_key, number, ARGV[place])
  end
  for place = last + 1, #ARGV do
    redis.call('HDEL', rows_key, ARGV[place])
    redis.call('ZREM', written_key, ARGV[place])
  end
  redis.call('SET', head_key, ARGV[at + 2], 'PX', milliseconds)
  redis.call('PEXPIRE', rows_key, milliseconds)
  redis.call('PEXPIRE', written_key, milliseconds)
  return 1
end
