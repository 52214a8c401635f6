//! The simulated EHR, as strict as the real ones. It imports nothing of ours, so that it cannot share our mistakes.
