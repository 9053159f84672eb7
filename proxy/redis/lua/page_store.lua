-- An answer moves its listing's record forward, by the rules of record.advance_record, and its page is kept. Its rows go with
-- it, or nothing is done: whoever computed them on another moment, or on other rows, is told what it lacks.
-- A Redis that takes no writes still tells the others of it: they would go on with what they know for as long.
-- Times are whole microseconds, as text: Lua's numbers hold them exactly but would print them rounded.
-- KEYS: record, page, lease, head, rows, written
-- ARGV: stamp, asked at, received at, whether it contradicts what was known (0 or 1), the record's since, as reckoned
--       (where there is no record here: as it is known elsewhere), page's value, page's PX in ms (0: do not keep),
--       record's PX in ms, channel, listing, what has landed by that ('': there is no lease), lease's token,
--       then as write_rows, if there are rows
-- Returns: confirmed | moved | behind, and the record; or lost, the record, and what the asker lacks of the rows, as page_look
local stamp, asked, received, contradicts = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local function text(number) return string.format('%.0f', number) end
local record = redis.pcall('GET', KEYS[1])
local since, confirmed, known_received, version, known
if type(record) == 'string' then
  since, confirmed, known_received, version, known = string.match(record, '^(%d+) (%d+) (%d+) (%d+) (.*)$')
end
local outcome
if not known then
  outcome, since, confirmed, version = 'moved', tonumber(ARGV[5]), asked, 1
else
  since, confirmed, known_received = tonumber(since), tonumber(confirmed), tonumber(known_received)
  received, version = math.max(received, known_received), tonumber(version) + 1
  if stamp == known and asked >= since and not contradicts then
    outcome, confirmed = 'confirmed', math.max(asked, confirmed)
  elseif asked >= known_received then
    outcome, since, confirmed = 'moved', contradicts and asked or known_received, asked
  else
    return {'behind', record}
  end
end
local lost = ARGV[13] and ARGV[5] ~= text(since)
if ARGV[13] and not lost then
  local fine, written = pcall(write_rows, 13, ARGV[8], KEYS[4], KEYS[5], KEYS[6])
  lost = fine and written == 0
end
if lost then
  local head, rows = rows_since(ARGV[14] == '1' and '' or ARGV[13], KEYS[4], KEYS[5], KEYS[6])
  return {'lost', known and record or false, head, rows}
end
record = table.concat({text(since), text(confirmed), text(received), text(version), stamp}, ' ')
local taken = redis.pcall('SET', KEYS[1], record, 'PX', ARGV[8])
local function asked_at(page) return tonumber(string.match(page, '^%d+ (%d+) [01] ')) or 0 end
if ARGV[7] ~= '0' and taken.ok then
  local kept = redis.pcall('GETRANGE', KEYS[2], 0, 63) -- by another, while this one was held up?
  if type(kept) ~= 'string' or asked_at(kept) <= asked_at(ARGV[6]) then
    taken = redis.pcall('SET', KEYS[2], ARGV[6], 'PX', ARGV[7])
  end
end
local news = ARGV[10] .. ' ' .. record
if ARGV[11] == '' then
  redis.call('PUBLISH', ARGV[9], 'record ' .. news)
else
  if redis.pcall('GET', KEYS[3]) == ARGV[12] then
    redis.pcall('DEL', KEYS[3])
  end
  redis.call('PUBLISH', ARGV[9], 'learned ' .. news .. '\n' .. ARGV[11]) -- one message, as each costs all replicas
end
return taken.ok and {outcome, record} or taken
