-- Take from what a caller may still ask, as much as is wanted or there is. The rules of quota.take. Times are seconds
-- by this server's clock.
-- KEYS: quota (the time at which nothing will have been taken)
-- ARGV: units wanted, units at the least, units a second, units at once, now ('': by the clock)
-- Returns: units granted, units left, s until there are as many as were wanted at the least
local function number(text) return tonumber(text) or 0 end
local function text(value) return string.format('%.17g', value) end
local wanted, least, rate, burst = number(ARGV[1]), number(ARGV[2]), number(ARGV[3]), number(ARGV[4])
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = number(time[1]) + number(time[2]) / 1e6
end
local full_at = redis.pcall('GET', KEYS[1])
full_at = math.max(type(full_at) == 'string' and number(full_at) or 0, now)
local left = burst - (full_at - now) * rate
if left < least then
  return {text(0), text(math.max(0, left)), text((least - left) / rate)}
end
local granted = math.min(wanted, left)
full_at = full_at + granted / rate
redis.call('SET', KEYS[1], text(full_at), 'PX', math.ceil((full_at - now) * 1000) + 1000)
return {text(granted), text(left - granted), text(0)}
