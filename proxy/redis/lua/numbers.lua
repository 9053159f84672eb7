-- Begins scripts that read a gate or a quota. Somebody may have written anything there, and this server's clock may have stepped
-- back, as after a failover: what is further ahead than it can be was never meant by this clock.
local function number(text) return tonumber(text) or 0 end
local function text(value) return string.format('%.17g', value) end
local function is_beyond(time, latest) return not (time <= latest) end -- nor is it before that if it is no number

local function whole(text)
  local value = number(text)
  return value >= 0 and value < 2 ^ 31 and value == math.floor(value) and value or 0
end

local function clock(given) -- what stands for now in tests, else this server's clock
  local time = not tonumber(given) and redis.call('TIME')
  return time and number(time[1]) + number(time[2]) / 1e6 or tonumber(given)
end

local CAUSES = {limited = true, unavailable = true, refused = true, failing = true}
local function known_cause(text) return CAUSES[text] and text or 'failing' end
