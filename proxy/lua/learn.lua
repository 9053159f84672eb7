-- An answer moves its listing's record forward, by the rules of record.learn, and its page is kept.
-- Times are whole microseconds, as text: Lua's numbers hold them exactly but would print them rounded.
-- KEYS: record, page, lease, head, rows, written
-- ARGV: stamp, asked at, heard at, page's value, page's PX in ms (0: do not keep), record's PX in ms,
--       channel, listing, news of the landing ('': there is no lease), lease's token,
--       record's since with which the rows were computed ('': there are no rows), then as write_rows
-- Returns: confirmed | moved | behind, the record, and whether the rows are kept (1) or to be computed anew (0)
local stamp, asked, heard = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local function text(number) return string.format('%.0f', number) end
local record = redis.pcall('GET', KEYS[1])
local since, confirmed, known_heard, version, known
if type(record) == 'string' then
  since, confirmed, known_heard, version, known = string.match(record, '^(%d+) (%d+) (%d+) (%d+) (.*)$')
end
local outcome
if not known then
  outcome, since, confirmed, version = 'moved', 0, asked, 1
else
  since, confirmed, known_heard = tonumber(since), tonumber(confirmed), tonumber(known_heard)
  heard, version = math.max(heard, known_heard), tonumber(version) + 1
  if stamp == known and asked >= since then
    outcome, confirmed = 'confirmed', math.max(asked, confirmed)
  elseif asked >= known_heard then
    outcome, since, confirmed = 'moved', known_heard, asked
  else
    return {'behind', record, 0}
  end
end
record = table.concat({text(since), text(confirmed), text(heard), text(version), stamp}, ' ')
redis.call('SET', KEYS[1], record, 'PX', ARGV[6])
if ARGV[5] ~= '0' then
  redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
end
local kept = 1
if ARGV[11] ~= '' then
  kept = ARGV[11] == text(since) and write_rows(12, ARGV[6], KEYS[4], KEYS[5], KEYS[6]) or 0
end
redis.call('PUBLISH', ARGV[7], 'record ' .. ARGV[8] .. ' ' .. record)
if ARGV[9] ~= '' then
  if redis.pcall('GET', KEYS[3]) == ARGV[10] then
    redis.call('DEL', KEYS[3])
  end
  redis.call('PUBLISH', ARGV[7], ARGV[9])
end
return {outcome, record, kept}
