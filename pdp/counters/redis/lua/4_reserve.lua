-- R packed ends plan guards flags -> one of
--   {'a', states, spends}  held, or with flag 1 (dry run) it would have been
--   {'r', states, spends}  a limit has no room, nothing moved
--   {'g', place, spends}   the guard at this place (from 0) does not hold, nothing moved
--   {'o', packed, ends}    with flag 2 (once): the request has this live hold already
--   {'s', packed, ends}    this very hold is live already: a retry
--   {'z'}                  this very hold has been settled or taken back
--   {'w'}                  the root is being opened: others publish what they hold
--
-- plan    {wants, budgets, tokens, requests, rates}
--   wants     for each key of the chain what is read: 1 day, 2 month, 4 all time, summed
--   budgets, tokens   {place in the chain from 1, period 1 2 3, amount}, one list
--   requests  {place, amount};  rates {place, slot, interval in ns, capacity}
-- guards  {key, period 1 2 3, start of the window, whether under, amount}
-- states  for each key {day, month, total, times of its rates in the order of the plan}, as
--         they were before; false where nothing was asked
-- spends  {s, h} for each guard
-- flag 4  it is refused without a look at the limits (too large)
local DRY, ONCE, LARGE = 1, 2, 4

local function has(flags, flag)
  return math.floor(flags / flag) % 2 == 1
end

local function number(decimal)
  return decimal and tonumber(decimal) or 0
end

local function states_of(windows, plan)
  local states = {}
  for place = 1, #windows do
    local wanted = plan[1][place]
    if wanted == 0 then
      states[place] = {false, false, false, false}
    else
      local all = names(windows[place])
      states[place] = {
        has(wanted, 1) and bucket(all[1]), has(wanted, 2) and bucket(all[2]),
        has(wanted, 4) and total_bucket(all[3]), false,
      }
    end
  end
  for _, rate in ipairs(plan[5]) do
    local state = states[rate[1]]
    state[4] = state[4] or {}
    local name = PREFIX .. 'r:' .. windows[rate[1]][1]
    state[4][#state[4] + 1] = call('HGET', name, rate[2])
  end
  return states
end

local function spends_of(guards)
  local spends, failed = {}, nil
  for place, guard in ipairs(guards) do
    local window = {guard[1], guard[3], guard[3]}
    local name = names(window)[guard[2]]
    local spend = call('HMGET', name, 's', 'h')
    spends[place] = spend
    local under = number(spend[1]) + number(spend[2]) < guard[5]
    if not failed and under ~= guard[4] then failed = place end
  end
  return spends, failed
end

-- Tell whether sums leave room; an amount of 0 blocks what costs nothing, too.
local function has_room(states, limits, field, asked)
  for _, limit in ipairs(limits) do
    local state = states[limit[1]][limit[2]]
    local used = number(state[field]) + number(state[field + 1])
    if limit[3] == 0 or used + asked > limit[3] then return false end
  end
  return true
end

local function has_requests(states, limits)
  for _, limit in ipairs(limits) do
    if number(states[limit[1]][3][5]) + 1 > limit[2] then return false end
  end
  return true
end

-- The new times by place in the chain, and how far ahead the last of each is; nil: no room.
local function times_of(states, rates)
  local times, longest, taken = {}, {}, {}
  for _, rate in ipairs(rates) do
    local place = rate[1]
    taken[place] = (taken[place] or 0) + 1
    local distance = admit(ahead(states[place][4][taken[place]]), rate[3], rate[4])
    if not distance then return nil end
    times[place] = times[place] or {}
    table.insert(times[place], {rate[2], time_ahead(distance)})
    longest[place] = math.max(longest[place] or 0, distance)
  end
  return times, longest
end

local function reserve(op)
  if OPENING then return {'w'} end
  local packed, ends, plan, guards, flags = op[2], op[3], op[4], op[5], op[6]
  local hold = cmsgpack.unpack(packed)
  local known = call('HMGET', hold_name(hold[ID]), 'b', 'e', 'x', 'z')
  if known[4] or known[3] then return {'z'} end
  if known[1] then return {'s', known[1], known[2]} end
  if has(flags, ONCE) then
    local open = open_of(hold[KEY], hold[REQUEST], hold[ID])
    if open then return {'o', open[1], open[2]} end
  end
  local spends, failed = spends_of(guards)
  if failed then return {'g', failed - 1, spends} end
  local windows, cost, tokens = hold[WINDOWS], hold[COST] or 0, hold[TOKENS]
  local states = states_of(windows, plan)
  local root = states[#states][3]
  local times, longest
  if not has(flags, LARGE)
    and has_room(states, plan[2], 1, cost)
    and number(root[1]) + number(root[2]) + cost <= MOST_SUM
    and has_room(states, plan[3], 3, tokens)
    and has_requests(states, plan[4])
  then
    times, longest = times_of(states, plan[5])
  end
  if not times then return {'r', states, spends} end
  if has(flags, DRY) then return {'a', states, spends} end
  move(windows, 0, cost, 0, tokens, 1)
  for place, each in pairs(times) do
    keep_times(windows[place][1], each, longest[place])
  end
  keep(hold, packed, ends)
  return {'a', states, spends}
end
