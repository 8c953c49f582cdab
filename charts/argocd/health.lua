-- What Argo CD is to make of a Producer or a Processor. Conditions count only for the generation that they were made for: those
-- of before an edit say nothing of it.
local health = { status = "Progressing", message = "waiting for the operator" }
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  return health
end

local found = {}
for _, condition in ipairs(status.conditions) do
  found[condition.type] = condition
end
local function is(name, value)
  return found[name] ~= nil and found[name].status == value
end
local function say(word, name)
  return { status = word, message = found[name].reason .. ": " .. (found[name].message or "") }
end

-- What only its author can mend.
if is("Stalled", "True") then
  return say("Degraded", "Stalled")
end
if not is("Ready", "True") then
  if found["Ready"] ~= nil then
    return say("Progressing", "Ready")
  end
  return health
end
-- Set up, and its author keeps it waiting, or an exhausted event does.
if is("Suspended", "True") then
  return say("Suspended", "Suspended")
end
if is("Degraded", "True") then
  return say("Degraded", "Degraded")
end
return { status = "Healthy", message = found["Ready"].message or "" }
