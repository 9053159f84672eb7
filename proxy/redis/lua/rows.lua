-- Begins scripts that read or write a listing's rows: its head, a hash of rows by their names, and a sorted set of
-- those by the number of the version in which each was written.
local AT_ONCE = 500 -- rows in one call: Lua unpacks some thousands of values at most

local function is(kind, key)
  local found = redis.call('TYPE', key).ok
  return found == kind or found == 'none'
end

-- The version that the head begins with; the empty string, where there is none, or something else in the place of its
-- rows. The rest of a head may be large, and is read only for those who lack it.
local function read_version(head_key, rows_key, written_key)
  local begin = redis.pcall('GETRANGE', head_key, 0, 63)
  if type(begin) ~= 'string' or not is('hash', rows_key) or not is('zset', written_key) then
    return ''
  end
  return string.match(begin, '^(%d+%.%x+) ') or ''
end

-- What somebody lacks who knows the version `known`: 1 and nothing, if that is the latest; the empty string, if there
-- is no listing; else its head, and the rows written since or, to those who know of another lineage, all.
local function rows_since(known, head_key, rows_key, written_key)
  local version = read_version(head_key, rows_key, written_key)
  if version == '' then
    return '', {}
  end
  if version == known then
    return 1, {}
  end
  local head = redis.call('GET', head_key)
  local number, lineage = string.match(known, '^(%d+)%.(%x+)$')
  if lineage ~= string.match(version, '%.(%x+)$') then
    return head, redis.call('HVALS', rows_key)
  end
  local rows, names = {}, redis.call('ZRANGEBYSCORE', written_key, '(' .. number, '+inf')
  for _, name in ipairs(names) do
    rows[#rows + 1] = redis.call('HGET', rows_key, name) or ''
  end
  return head, rows
end

-- Put a listing in the place of the version that it was computed on; 0 if that is no longer the latest.
-- ARGV from `at` on: expected version, whole (0 or 1), head, number of rows, name and row of each, names that go
local function write_rows(at, milliseconds, head_key, rows_key, written_key)
  if read_version(head_key, rows_key, written_key) ~= ARGV[at] then
    return 0
  end
  if ARGV[at + 1] == '1' then
    redis.call('DEL', rows_key, written_key)
  elseif redis.call('EXISTS', rows_key, written_key) < 2 then
    redis.call('DEL', head_key) -- evicted: what has changed is no use without what has not
    return 0
  end
  local number, last = string.match(ARGV[at + 2], '^(%d+)'), at + 3 + 2 * tonumber(ARGV[at + 3])
  for first = at + 4, last, 2 * AT_ONCE do
    local to = math.min(first + 2 * AT_ONCE - 1, last)
    local written = {}
    for place = first, to, 2 do
      written[#written + 1] = number
      written[#written + 1] = ARGV[place]
    end
    redis.call('HSET', rows_key, unpack(ARGV, first, to))
    redis.call('ZADD', written_key, unpack(written))
  end
  for first = last + 1, #ARGV, AT_ONCE do
    local to = math.min(first + AT_ONCE - 1, #ARGV)
    redis.call('HDEL', rows_key, unpack(ARGV, first, to))
    redis.call('ZREM', written_key, unpack(ARGV, first, to))
  end
  redis.call('SET', head_key, ARGV[at + 2], 'PX', milliseconds)
  redis.call('PEXPIRE', rows_key, milliseconds)
  redis.call('PEXPIRE', written_key, milliseconds)
  return 1
end
