//! Decisions: `(snapshot, request, now) → Permit / Deny(code)`. No I/O.
