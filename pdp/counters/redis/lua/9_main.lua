-- Do the ops, in their order.
local HANDLERS = {
  R = reserve, S = settle, X = expire, L = locate, O = find_open, E = extend, D = due,
  C = cancel, W = withdraw, P = publish, K = look, H = beat, A = begin, F = fill,
  N = fill_held, B = open,
  w = watch, v = values, l = live, j = adjust, r = restore, n = leave,
}
local OPENS = {A = true, F = true, N = true, B = true}

local CALLS = PREFIX .. 'calls'
local count = tonumber(call('HGET', CALLS, OWNER) or 0)
local is_behind = count < FLOOR

local answers = {}
for place, op in ipairs(OPS) do
  local letter = op[1]
  local answer = NOT_OPEN
  if (EPOCH and not is_behind) or OPENS[letter] then
    local done
    CURRENT = op
    done, answer = pcall(HANDLERS[letter], op)
    if not done then
      answer = {'!', type(answer) == 'table' and answer.err or tostring(answer)}
    end
  end
  answers[place] = answer
end
if not is_behind then
  -- Redis refuses only the first write of a script: if this one, nothing was written.
  local counted = redis.pcall('HINCRBY', CALLS, OWNER, 1)
  count = type(counted) == 'number' and counted or counted.err
end
return {not is_behind and EPOCH, SECOND, NANO, answers, count}
