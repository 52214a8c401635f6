//! Everything that Hearthgate calls: EHR token endpoints, probes, key sets.
