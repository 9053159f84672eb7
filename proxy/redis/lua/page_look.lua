-- Read a page, its listing's record, and what the asker lacks of its rows. With a token, the lease to ask the hub is
-- taken in the same call, and a turn at the hub if one is wanted: unless somebody has the lease, or there is more here
-- than the asker knows.
-- KEYS: page, record, head, rows, written, the lease of what the hub would be asked, the mark that the token has ended,
--       then those of gate.admit
-- ARGV: the version of the rows that the asker knows, what the page that it knows begins with ('': none),
--       the record that it knows ('': none), token ('': no lease is wanted), lease in ms,
--       in µs when a live page and a settled one were vouched for at the latest if they are of no use,
--       then those of gate.admit
-- Returns: page (1: the one that the asker knows), record, head (1: nothing new; '': none), rows, 1 if the lease is
--          taken, what gate.admit returns if it was asked
local head, rows = rows_since(ARGV[1], KEYS[3], KEYS[4], KEYS[5])
local known = redis.call('MGET', KEYS[1], KEYS[2])
local page, record = known[1], known[2]
if page and ARGV[2] ~= '' and string.sub(page, 1, #ARGV[2]) == ARGV[2] then
  page = 1
end

-- Whether something here may be of use to the asker, who knows better how to judge it. Nothing is without a record.
local function is_more()
  local confirmed = record and tonumber(string.match(record, '^%d+ (%d+) '))
  if not confirmed or (record == ARGV[3] and (page == 1 or not page) and (head == 1 or head == '')) then
    return false
  end
  local live_after, settled_after, shown_at = tonumber(ARGV[6]), tonumber(ARGV[7]), 0
  local asked, settled = string.match(page == 1 and ARGV[2] or page or '', '^%d+ (%d+) ([01]) ')
  if asked then
    shown_at = tonumber(asked)
    if (settled == '1' and math.max(shown_at, confirmed) or shown_at) > (settled == '1' and settled_after or live_after) then
      return true
    end
  end
  -- Rows are as recent as the answer that confirmed the listing, at best; if that was the page itself, so is the page.
  return head ~= '' and confirmed > math.max(shown_at, math.min(live_after, settled_after))
end

local own = ARGV[4] ~= '' and redis.pcall('GET', KEYS[6]) == ARGV[4] -- taken before, but the answer was lost
if ARGV[4] == '' or not own and (redis.call('EXISTS', KEYS[6], KEYS[7]) > 0 or is_more()) then
  return {page, record, head, rows, 0}
end
local taken = redis.pcall('SET', KEYS[6], ARGV[4], 'PX', ARGV[5]) -- a Redis that takes no writes can still be read
if taken.ok and KEYS[8] then
  return {page, record, head, rows, 1, admit(8, KEYS[8], KEYS[9])}
end
return {page, record, head, rows, taken.ok and 1 or 0}
