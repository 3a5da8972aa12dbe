-- Rates: GCRA, as in pdp/quota/gcra.py. Nanoseconds since 1970 are beyond a double, so a
-- theoretical arrival time is compared as what it is ahead of now, and kept as
-- SECONDS.NANOSECONDS, nine digits behind the point.

-- Nanoseconds that a time is ahead of now; negative: behind.
local function ahead(time)
  if not time then return -1 end
  local point = string.find(time, '.', 1, true)
  return (tonumber(string.sub(time, 1, point - 1)) - SECOND) * 1e9
         + tonumber(string.sub(time, point + 1)) - NANO
end

local function time_ahead(nanoseconds)
  local sum = NANO + nanoseconds
  local seconds = math.floor(sum / 1e9)
  return text(SECOND + seconds) .. '.' .. string.format('%09.0f', sum - seconds * 1e9)
end

-- The new distance of a rate whose time is `distance` ahead; nil where it has no room.
local function admit(distance, interval, capacity)
  if interval == 0 then return nil end
  local full = capacity * interval
  if distance < 0 then distance = 0 end
  if distance > full then distance = full end
  distance = distance + interval
  if distance > full then return nil end
  return distance
end

-- Write times of one key: {{slot, time}, ...}; `longest` ns ahead is when all are over.
local function keep_times(key, times, longest)
  local name = PREFIX .. 'r:' .. key
  for _, each in ipairs(times) do
    call('HSET', name, each[1], each[2])
  end
  call('EXPIRE', name, text(math.min(math.max(longest / 1e9, 0) + 60, 4e9)))
end
