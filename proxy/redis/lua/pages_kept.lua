-- Of which questions there is something here: the page itself, or rows of its listing.
-- KEYS: page and head of each
-- Returns: for each 0, or how many of the two there are
local kept = {}
for number = 1, #KEYS, 2 do
  kept[#kept + 1] = redis.call('EXISTS', KEYS[number], KEYS[number + 1])
end
return kept
