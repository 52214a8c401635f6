//! Resources compiled into what is served (the Snapshot) and what is told (the Reports).
