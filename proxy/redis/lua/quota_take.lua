-- Take from what a caller may still ask, as much as is wanted or there is. The rules of quota.take. Times are seconds by
-- this server's clock.
-- KEYS: quota (the time at which nothing will have been taken)
-- ARGV: units wanted, units at the least, units a second, units at once, now ('': by the clock)
-- Returns: units granted, units left, s until there are as many as were wanted at the least
local wanted, least = number(ARGV[1]), number(ARGV[2])
local rate, burst, now = number(ARGV[3]), number(ARGV[4]), clock(ARGV[5])
local full_at = redis.pcall('GET', KEYS[1])
full_at = math.max(type(full_at) == 'string' and number(full_at) or 0, now)
local left, granted, wait = burst - (full_at - now) * rate, 0, 0
if left < least then
  wait = (least - left) / rate
else
  granted = math.min(wanted, left)
  full_at = full_at + granted / rate
  redis.call('SET', KEYS[1], text(full_at), 'PX', math.ceil((full_at - now) * 1000) + 1000)
end
return {text(granted), text(left - granted), text(wait)}
