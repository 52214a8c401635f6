-- The same script for App, Gateway, DataAdapter and Activation of hearthgate.dev.
local status = obj.status
-- A verdict about an older spec is none: a wave that waits must not go on with it.
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for Hearthgate to look at it" }
end
if obj.spec ~= nil and obj.spec.suspend == true then
  return { status = "Suspended", message = "Switched off by spec.suspend" }
end
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local function is(name, value, reason)
  local condition = conditions[name]
  return condition ~= nil and condition.status == value and (reason == nil or condition.reason == reason)
end
-- Somebody decided it, or somebody at the EHR must act: nothing here is broken.
for _, reason in ipairs({ "Suspended", "OutsideWindow" }) do
  if is("Programmed", "False", reason) then
    return { status = "Suspended", message = conditions.Programmed.message }
  end
end
if is("EHRAuthenticated", "False", "AwaitingRegistration") then
  return { status = "Suspended", message = status.nextStep or conditions.EHRAuthenticated.message }
end
if is("Stalled", "True") then
  return { status = "Degraded", message = conditions.Stalled.message }
end
if is("Accepted", "False") then
  return { status = "Degraded", message = conditions.Accepted.message }
end
if is("EHRAuthenticated", "False", "Refused") then
  return { status = "Degraded", message = conditions.EHRAuthenticated.message }
end
if is("Ready", "True") then
  return { status = "Healthy", message = conditions.Ready.message }
end
local ready = conditions.Ready
return { status = "Progressing", message = status.nextStep or (ready and ready.message) or "Not ready yet" }
