-- What is left of the hub's budget. The rules of admission.gate.Gate.standing. Times are seconds by this server's clock.
-- KEYS: gate, slots
-- ARGV: rate, burst, now ('': by the clock)
-- Returns: turns left, slots held, s left of the pause, its cause, strikes
local function number(text) return tonumber(text) or 0 end
local function text(value) return string.format('%.17g', value) end
local rate, burst, now = number(ARGV[1]), number(ARGV[2]), tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = number(time[1]) + number(time[2]) / 1e6
end
local gate, slots = {}, 0
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
  gate = redis.call('HMGET', KEYS[1], 'next', 'until', 'cause', 'strikes')
end
if redis.call('TYPE', KEYS[2]).ok == 'zset' then
  slots = redis.call('ZCOUNT', KEYS[2], '(' .. text(now), '+inf')
end
local left = math.max(0, burst - math.max(0, number(gate[1]) - now) * rate)
return {text(left), slots, text(math.max(0, number(gate[2]) - now)), gate[3] or 'failing', number(gate[4])}
