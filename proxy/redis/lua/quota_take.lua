-- Take from what a caller may still ask, as much as is wanted or there is. The rules of quota.take_units. Times are seconds by
-- this server's clock.
-- KEYS: quota (the time at which nothing will have been taken)
-- ARGV: units wanted, units at the least, units a second, units at once; what the asker tells: the time that was kept
--       here when it asked last, units that it has granted since without this server; now ('': by the clock)
-- Returns: units granted, units left, s until there are as many as were wanted at the least, the time that is kept now
local wanted, least = number(ARGV[1]), number(ARGV[2])
local rate, burst, now = number(ARGV[3]), number(ARGV[4]), clock(ARGV[7])
local stored = redis.pcall('GET', KEYS[1])
local before = type(stored) == 'string' and number(stored) or 0
local latest = now + burst / rate -- then all is taken; what is later was never meant by this clock
-- The time only moves forward. So one that an asker knows and this server does not was lost with its memory, or came
-- after the older data that it has.
local full_at = math.max(now, math.min(latest, math.max(before, number(ARGV[5]))))
full_at = math.min(latest, full_at + number(ARGV[6]) / rate)
local left, granted, wait = burst - (full_at - now) * rate, 0, 0
if left < least then
  wait = (least - left) / rate
else
  granted = math.min(wanted, left)
  full_at = full_at + granted / rate
end
if full_at ~= before then
  redis.call('SET', KEYS[1], text(full_at), 'PX', math.ceil((full_at - now) * 1000) + 1000)
end
return {text(granted), text(left - granted), text(wait), text(full_at)}
