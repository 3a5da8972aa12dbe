-- Do the ops, in their order.
local HANDLERS = {
  R = reserve, S = settle, X = expire, L = locate, O = find_open, E = extend, D = due,
  C = cancel, P = publish, K = look, H = beat, A = begin, F = fill, B = open,
}
local OPENS = {A = true, F = true, B = true}

local answers = {}
for place, op in ipairs(OPS) do
  local letter = op[1]
  local answer = NOT_OPEN
  if EPOCH or OPENS[letter] then
    local done
    done, answer = pcall(HANDLERS[letter], op)
    if not done then
      answer = {'!', type(answer) == 'table' and answer.err or tostring(answer)}
    end
  end
  answers[place] = answer
end
return {EPOCH, SECOND, NANO, answers}
